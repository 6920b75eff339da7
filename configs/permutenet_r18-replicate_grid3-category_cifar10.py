# PermuteNet classifies a CIFAR-10 patch on a 3x3 grid, replicate padding (Table 1).
_base_ = 'permutenet_r18_grid3-category_cifar10.py'
model = dict(backbone=dict(padding_mode='replicate'))
