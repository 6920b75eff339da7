# The paper gives no schedule for Table 2: this one is our choice, the same for every row of a data set.
optim_wrapper = dict(
    type='mmposenc.AutocastOptimWrapper',
    optimizer=dict(type='SGD', lr=0.3, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True),
)
_warmup, _epochs = 5, 120
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=_warmup, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=_epochs - _warmup, begin=_warmup, end=_epochs, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=_epochs, val_interval=20)
