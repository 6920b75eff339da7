# The demo's baseline: one view and cross entropy, on the handwritten digits of scikit-learn.
_base_ = [
    '_base_/models/resnet18_cifar.py',
    '_base_/datasets/digits.py',
    '_base_/schedules/digits_16e.py',
    '_base_/evaluation/cons8.py',
    '_base_/default_runtime.py',
]
model = dict(backbone=dict(base_channels=8, stem_channels=8), head=dict(num_classes=10, in_channels=64))
