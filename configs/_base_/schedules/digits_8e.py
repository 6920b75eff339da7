# Both tasks on Grid-Digits (ours): seconds on a CPU. The optimizer is the authors'.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3, betas=(0.5, 0.999)))
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=8)
