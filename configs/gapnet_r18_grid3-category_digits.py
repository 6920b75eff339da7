# GAPNet classifies a digit on a 3x3 grid: Table 1 on a CPU, offline. It has three stages of a ResNet-18 with 16
# channels.
_base_ = [
    '_base_/models/gapnet_r18.py',
    '_base_/datasets/grid_digits.py',
    '_base_/schedules/digits_40e.py',
    '_base_/default_runtime.py',
]
_small = dict(
    num_stages=3, strides=(2, 2, 1), dilations=(1, 1, 1), out_indices=(2,), base_channels=16, stem_channels=16
)
model = dict(backbone=_small, head=dict(in_channels=64, num_classes=10))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(grid_size=3, task='category'))
