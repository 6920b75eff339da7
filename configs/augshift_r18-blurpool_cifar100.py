# AugShift and BlurPool together on CIFAR-100.
_base_ = 'augshift_r18_cifar100.py'
model = dict(backbone=dict(type='mmposenc.BlurPoolResNetCIFAR'))
