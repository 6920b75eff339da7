# SumNet on a 5x5 grid: predicts from the sum of the pooled channels, which does not depend on their order (Table 1).
_base_ = 'permutenet_r18_grid5-location_cifar10.py'
model = dict(neck=dict(type='mmposenc.SumPoolNeck'), head=dict(in_channels=1))
optim_wrapper = dict(type='OptimWrapper')  # float32, since bfloat16 holds one number to three digits
