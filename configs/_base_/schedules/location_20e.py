# Location (Sec. 3, Table 1): 20 epochs at one learning rate. The figure to report is the last epoch's.
optim_wrapper = dict(
    type='mmposenc.AutocastOptimWrapper',  # bfloat16, for speed
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.5, 0.999), fused=True),  # betas: the authors' code
)
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=1)
