# BlurPool on CIFAR-10 (Table 2): a blur comes before every subsampling.
_base_ = 'baseline_r18_cifar10.py'
model = dict(backbone=dict(type='mmposenc.BlurPoolResNetCIFAR'))
