# AugShift and BlurPool together on CIFAR-10.
_base_ = 'augshift_r18_cifar10.py'
model = dict(backbone=dict(type='mmposenc.BlurPoolResNetCIFAR'))
