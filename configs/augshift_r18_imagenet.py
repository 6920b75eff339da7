# AugShift on ImageNet (Sec. 4.1, Table 2), for 8 GPUs. mmpretrain's MultiView cuts two windows of 224x224 px from one
# crop of 256x256 px.
_base_ = 'baseline_r18_imagenet.py'
model = dict(type='mmposenc.AugShiftClassifier', loss=dict(type='mmposenc.AugShiftLoss', mse_weight=10.0))  # our choice
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=256),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),  # shared by both views
            dict(type='MultiView', num_views=2, transforms=[[dict(type='RandomCrop', crop_size=224)]]),
            dict(type='PackInputs'),
        ]
    )
)
