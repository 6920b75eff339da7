# The baseline of Table 2 on CIFAR-100: one view and cross entropy, with the same crop range as AugShift.
_base_ = [
    '_base_/models/resnet18_cifar.py',
    '_base_/datasets/cifar100.py',
    '_base_/schedules/sgd_120e.py',
    '_base_/evaluation/cons8.py',
    '_base_/default_runtime.py',
]
model = dict(head=dict(num_classes=100))
