# CamVid, 480x360 px: 367 images to train, 101 val, 233 test. Validation takes val; reported figures are of test.
_size = (360, 480)
_load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mmposenc.CamVid',
        data_root='data/camvid',
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
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
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmposenc.CamVid',
        data_root='data/camvid',
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
        pipeline=[*_load, dict(type='PackSegInputs')],
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmposenc.CamVid',
        data_root='data/camvid',
        data_prefix=dict(img_path='test', seg_map_path='testannot'),
        pipeline=[*_load, dict(type='PackSegInputs')],
    ),
)
