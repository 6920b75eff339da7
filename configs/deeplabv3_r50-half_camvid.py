# The same at half the size, 240x180 px, with ASPP as in its paper (256 channels) and in float32: 70 minutes on two idle
# CPU cores, at 2.1 s an iteration. `mmposenc train --amp` is faster on a processor with AMX, and slower on one without.
# The rates are halved with the image; metrics are computed at the labels' own 480x360 px.
_base_ = 'deeplabv3_r50_camvid.py'
_size = (180, 240)
_load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
_test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=_size[::-1], keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
model = dict(data_preprocessor=dict(size=_size), decode_head=dict(channels=256, dilations=(1, 3, 6, 9)))
train_dataloader = dict(
    num_workers=2,
    dataset=dict(
        pipeline=[
            *_load,
            dict(type='RandomResize', scale=_size[::-1], ratio_range=(0.75, 1.5), keep_ratio=True),
            dict(type='RandomCrop', crop_size=_size, cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=_test_pipeline))
test_dataloader = dict(num_workers=1, dataset=dict(pipeline=_test_pipeline))
optim_wrapper = dict(type='OptimWrapper')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=300, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=300, end=2000, by_epoch=False),
]
train_cfg = dict(max_iters=2000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
