# CIFAR-10 as whole batches: the split lies in memory once, a batch is one gather, the rest is done on the device.
data_preprocessor = dict(
    type='mmposenc.BatchPreprocessor',
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    train_transforms=[
        dict(type='mmposenc.BatchRandomFlip', prob=0.5),
        dict(type='mmposenc.BatchRandomShift', max_shift=8),  # our choice; must cover the range that Cons.8 tests
    ],
)
train_dataloader = dict(
    batch_size=512,  # our choice
    num_workers=0,  # a gather costs less than handing its result to another process
    drop_last=True,
    dataset=dict(type='mmposenc.CIFAR10', data_root='data/cifar10', split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='mmposenc.pass_batch'),
)
val_dataloader = dict(
    batch_size=1000,
    num_workers=0,
    dataset=dict(type='mmposenc.CIFAR10', data_root='data/cifar10', split='test'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='mmposenc.pass_batch'),
)
test_dataloader = val_dataloader
