# GAPNet locates a digit on a 3x3 grid: Table 1 on a CPU, offline.
_base_ = 'gapnet_r18_grid3-category_digits.py'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(task='location'))
model = dict(head=dict(num_classes=9))
train_cfg = dict(max_epochs=12, val_interval=12)
param_scheduler = dict(end=12)
