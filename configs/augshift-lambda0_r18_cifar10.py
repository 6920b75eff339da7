# The control of AugShift on CIFAR-10: two views and their cross entropies, nothing that pulls them together (ours).
_base_ = 'augshift_r18_cifar10.py'
model = dict(loss=dict(mse_weight=0.0))
