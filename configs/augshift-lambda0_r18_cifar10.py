# The control of AugShift on CIFAR-10: two views and their cross entropies, without the term that pulls them together.
_base_ = 'augshift_r18_cifar10.py'
model = dict(loss=dict(mse_weight=0.0))
