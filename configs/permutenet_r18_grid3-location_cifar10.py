# PermuteNet locates a CIFAR-10 patch on a 3x3 grid, with zero padding (Table 1).
_base_ = [
    '_base_/models/permutenet_r18.py',
    '_base_/datasets/grid_cifar10.py',
    '_base_/schedules/location_20e.py',
    '_base_/default_runtime.py',
]
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(grid_size=3, task='location'))
model = dict(head=dict(num_classes=9))
