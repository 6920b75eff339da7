# DeepLabv3-R50 on CamVid, trained from scratch in minutes on one GPU, beside the paper's Cityscapes (Sec. 4.2).
_base_ = [
    '_base_/models/deeplabv3_scratch.py',
    '_base_/datasets/camvid.py',
    '_base_/segmentation_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(360, 480)),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11),
)
optim_wrapper = dict(
    type='mmposenc.AutocastOptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=300, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=300, end=4000, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4000, val_interval=1000)
