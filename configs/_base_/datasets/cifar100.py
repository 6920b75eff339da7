# CIFAR-100 as whole batches, as CIFAR-10.
_base_ = 'cifar10.py'
data_preprocessor = dict(mean=[129.304, 124.070, 112.434], std=[68.170, 65.392, 70.418])
train_dataloader = dict(dataset=dict(type='mmposenc.CIFAR100', data_root='data/cifar100'))
val_dataloader = test_dataloader = dict(dataset=dict(type='mmposenc.CIFAR100', data_root='data/cifar100'))
