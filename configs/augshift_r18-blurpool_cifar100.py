# AugShift and BlurPool together on CIFAR-100 (ours).
_base_ = 'augshift_r18_cifar100.py'
model = dict(backbone=dict(type='mmposenc.BlurPoolResNetCIFAR'))
