# The baseline of Table 2 on CIFAR-100 without a random crop: images are flipped, never shifted.
_base_ = 'baseline_r18_cifar100.py'
data_preprocessor = dict(train_transforms=[dict(type='mmposenc.BatchRandomFlip', prob=0.5)])
