# The control of AugShift on CIFAR-100: two views and their cross entropies, nothing that pulls them together (ours).
_base_ = 'augshift_r18_cifar100.py'
model = dict(loss=dict(mse_weight=0.0))
