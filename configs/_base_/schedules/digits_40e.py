# Grid-Digits: 40 passes over 1,442 digits, or as many as the leaf says.
_epochs = 40
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-2, betas=(0.5, 0.999), fused=True),  # betas: the authors' code
    # Behind PermuteNet K lines over one sum must separate K intervals: their offsets have a long way to go.
    paramwise_cfg=dict(bias_lr_mult=30),  # of the head: the convolutions of the backbone have no bias
)
param_scheduler = dict(type='LinearLR', start_factor=1, end_factor=0.02, end=_epochs, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=_epochs, val_interval=_epochs)
