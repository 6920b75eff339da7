# For the demo: half a minute a run on one CPU core.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.005))
_epochs = 16
param_scheduler = dict(type='CosineAnnealingLR', T_max=_epochs, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=_epochs, val_interval=_epochs)
