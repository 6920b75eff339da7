# AugShift and BlurPool together on CIFAR-10 (ours).
_base_ = 'augshift_r18_cifar10.py'
model = dict(backbone=dict(type='mmposenc.BlurPoolResNetCIFAR'))
