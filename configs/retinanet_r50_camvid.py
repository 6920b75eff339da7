# RetinaNet-R50 on CamVid's pedestrians, from scratch (supplement): 4000 iterations of 8 images of 960x720 px. The boxes
# are drawn around connected components of the label maps, so pedestrians who touch share a box.
_base_ = ['_base_/models/retinanet_scratch.py', '_base_/detection_runtime.py']
_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction', 'instances')
_size = (720, 960)  # twice that of the images: many pedestrians are 10 px wide
_load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
_test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=_size[::-1], keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=_keys),
]
model = dict(
    backbone=dict(depth=50),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
    bbox_head=dict(num_classes=1, anchor_generator=dict(octave_base_scale=2, ratios=[1.0, 2.0, 4.0])),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mmposenc.CamVidBoxes',
        data_root='data/camvid',
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
        pipeline=[
            *_load,
            dict(type='RandomResize', scale=_size[::-1], ratio_range=(0.75, 1.5), keep_ratio=True),
            dict(type='RandomCrop', crop_size=_size, allow_negative_crop=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmposenc.CamVidBoxes',
        data_root='data/camvid',
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
        test_mode=True,
        pipeline=_test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmposenc.CamVidBoxes',
        data_root='data/camvid',
        data_prefix=dict(img_path='test', seg_map_path='testannot'),
        test_mode=True,
        pipeline=_test_pipeline,
    ),
)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=4e-4, weight_decay=5e-2), clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=300, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-6, power=0.9, begin=300, end=4000, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4000, val_interval=1000)
