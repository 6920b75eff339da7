# The control of AugShift on CIFAR-100: two views and their cross entropies, without the term that pulls them together.
_base_ = 'augshift_r18_cifar100.py'
model = dict(loss=dict(mse_weight=0.0))
