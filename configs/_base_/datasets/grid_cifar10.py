# Grid-CIFAR-10 (Sec. 3) as whole batches: patches travel, the device makes canvases. Grid and task are the leaf's.
data_preprocessor = dict(
    type='mmposenc.BatchPreprocessor',
    mean=[125.307, 122.961, 113.8575],  # the authors' code
    std=[51.5865, 50.847, 51.255],
    channels_last=True,
    train_transforms=[
        dict(type='mmposenc.BatchRandomFlip', prob=0.5),  # the authors' code: of the patch, not of the canvas
        dict(type='mmposenc.BatchPlaceOnGrid'),
    ],
    test_transforms=[dict(type='mmposenc.BatchPlaceOnGrid')],
)
train_dataloader = dict(
    batch_size=48,  # the authors' code
    num_workers=0,  # a gather costs less than handing its result to another process
    drop_last=True,
    dataset=dict(type='mmposenc.GridCIFAR10', data_root='data/cifar10', split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='mmposenc.pass_batch'),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    dataset=dict(type='mmposenc.GridCIFAR10', data_root='data/cifar10', split='test'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='mmposenc.pass_batch'),
)
test_dataloader = val_dataloader

val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
