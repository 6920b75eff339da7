# ResNet-18 on ImageNet with Cons.8 and Cons.16 (Table 2), for 8 GPUs, by mmpretrain's recipe and per-sample pipeline.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
custom_imports = dict(imports=['mmposenc'])
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=256),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='RandomCrop', crop_size=224),  # the position range of augshift_r18_imagenet.py, one view
            dict(type='PackInputs'),
        ]
    )
)
# The centre 256x256 px: crop_pair cuts its windows there, everything else sees its centre 224x224 px, as usual.
val_dataloader = test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=256, edge='short'),
            dict(type='CenterCrop', crop_size=256),
            dict(type='PackInputs'),
        ]
    )
)
val_cfg = test_cfg = dict(
    type='mmposenc.ShiftConsistencyLoop',
    max_shifts=[8, 16],
    protocols=['zero_ref', 'zero_pair', 'crop_pair'],
    crop_size=224,
)
val_evaluator = test_evaluator = dict(type='mmposenc.ShiftConsistencyMetric')
