# PermuteNet classifies a CIFAR-10 patch on a 7x7 grid, with zero padding (Table 1).
_base_ = [
    '_base_/models/permutenet_r18.py',
    '_base_/datasets/grid_cifar10.py',
    '_base_/schedules/category_100e.py',
    '_base_/default_runtime.py',
]
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(grid_size=7, task='category'))
model = dict(head=dict(num_classes=10))
