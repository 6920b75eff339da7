# BlurPool on CIFAR-100 (Table 2): a blur comes before every subsampling.
_base_ = 'baseline_r18_cifar100.py'
model = dict(backbone=dict(type='mmposenc.BlurPoolResNetCIFAR'))
