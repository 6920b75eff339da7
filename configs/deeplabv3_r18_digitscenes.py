# The demo's DeepLabv3, a small one on scenes composed of digits: about a minute on two cores, without a download.
_base_ = ['_base_/models/deeplabv3_scratch.py', '_base_/segmentation_runtime.py']
_size = (64, 128)
_norm = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=_size),
    backbone=dict(
        depth=18,
        stem_channels=16,
        base_channels=16,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_cfg=_norm,
    ),
    decode_head=dict(in_channels=128, channels=64, dilations=(1, 2, 4, 6), norm_cfg=_norm, num_classes=8),
    auxiliary_head=None,
)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    # No flip: building and tree look alike, and only their side tells them apart.
    dataset=dict(type='mmposenc.DigitScenes', split='train', image_size=_size, pipeline=[dict(type='PackSegInputs')]),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmposenc.DigitScenes', split='val', image_size=_size, pipeline=[dict(type='PackSegInputs')]),
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=3e-3, weight_decay=1e-2))
param_scheduler = [dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=0, end=400, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=400, val_interval=400)
