# The bound of PermuteNet on a 3x3 grid: a read-out of the sorted pooled channels (ours; Table 1).
_base_ = 'permutenet_r18_grid3-location_cifar10.py'
model = dict(neck=dict(type='mmposenc.SortedPoolNeck'))
