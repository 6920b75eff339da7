# PermuteNet classifies a CIFAR-10 patch on a 7x7 grid, reflect padding (Table 1).
_base_ = 'permutenet_r18_grid7-category_cifar10.py'
model = dict(backbone=dict(padding_mode='reflect'))
