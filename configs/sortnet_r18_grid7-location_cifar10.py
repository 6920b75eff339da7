# SortNet on a 7x7 grid: the pooled channels are sorted where PermuteNet shuffles them (Table 1).
_base_ = 'permutenet_r18_grid7-location_cifar10.py'
model = dict(neck=dict(type='mmposenc.SortedPoolNeck'))
