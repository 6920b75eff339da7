# A small RetinaNet on scenes composed of digits, which have a class pedestrian: minutes on a CPU.
_base_ = ['_base_/models/retinanet_scratch.py', '_base_/detection_runtime.py']
_size = (64, 128)
_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction', 'instances')
_load = [dict(type='Resize', scale=_size[::-1], keep_ratio=True), dict(type='LoadAnnotations', with_bbox=True)]
model = dict(
    backbone=dict(stem_channels=16, base_channels=16, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), out_indices=(3,)),
    # One level at stride 16, so that everything which the head sees comes out of the last stage.
    neck=dict(in_channels=[128], out_channels=64, start_level=0, add_extra_convs=False, num_outs=1),
    bbox_head=dict(
        num_classes=3,
        in_channels=64,
        stacked_convs=1,
        feat_channels=64,
        anchor_generator=dict(octave_base_scale=1, ratios=[1.0, 1.4, 2.0], strides=[16]),
    ),
    test_cfg=dict(max_per_img=20),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mmposenc.DigitSceneBoxes',
        split='train',
        image_size=_size,
        pipeline=[dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs')],
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmposenc.DigitSceneBoxes',
        split='val',
        image_size=_size,
        test_mode=True,
        pipeline=[*_load, dict(type='PackDetInputs', meta_keys=_keys)],
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2), clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=50, end=400, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=400, val_interval=400)
