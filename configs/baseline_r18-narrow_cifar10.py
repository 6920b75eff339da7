# The baseline with 16 channels instead of 64 in the first stage, for use without a GPU: a sixteenth of the cost.
_base_ = 'baseline_r18_cifar10.py'
_warmup, _epochs = 2, 10
data_preprocessor = dict(channels_last=True)  # a CPU prefers it too
model = dict(backbone=dict(stem_channels=16, base_channels=16), head=dict(in_channels=128))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=_warmup, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=_epochs - _warmup, begin=_warmup, end=_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=_epochs)
