# scikit-learn's handwritten digits, 16x16 px in the middle of 32x32: a shift of 8 px never cuts a digit.
data_preprocessor = dict(
    type='mmposenc.BatchPreprocessor',
    mean=[127.5, 127.5, 127.5],
    std=[127.5, 127.5, 127.5],
    train_transforms=[dict(type='mmposenc.BatchRandomShift', max_shift=8)],
)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=True,
    dataset=dict(type='mmposenc.Digits', split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='mmposenc.pass_batch'),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    dataset=dict(type='mmposenc.Digits', split='test'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='mmposenc.pass_batch'),
)
test_dataloader = val_dataloader
