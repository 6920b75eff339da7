# BlurPool on CIFAR-10 (Table 2): every stride is taken by a blurring layer.
_base_ = 'baseline_r18_cifar10.py'
model = dict(backbone=dict(type='mmposenc.BlurPoolResNetCIFAR'))
