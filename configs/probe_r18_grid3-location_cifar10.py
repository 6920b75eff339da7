# Location on a 3x3 grid, read at every stage of the frozen AugShift network (ours; Sec. 3). Any checkpoint:
# --cfg-options model.checkpoint=..., and its backbone, mean and std here.
_base_ = ['_base_/datasets/grid_cifar10.py', '_base_/schedules/location_20e.py', '_base_/default_runtime.py']
model = dict(
    type='mmposenc.LocationProbe',
    backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(0, 1, 2, 3)),
    head=dict(num_classes=9),
    checkpoint='work_dirs/augshift_r18_cifar100/epoch_120.pth',
)
data_preprocessor = dict(mean=[129.304, 124.070, 112.434], std=[68.170, 65.392, 70.418])  # CIFAR-100's: the network's
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(grid_size=3, task='location'))
train_cfg = dict(max_epochs=5)  # ours
val_evaluator = dict(_delete_=True, type='mmposenc.ReadoutAccuracyMetric')
test_evaluator = val_evaluator
