# Grid-Digits: scikit-learn's handwritten digits, 16x16 px each, on the grids of Sec. 3, for offline use.
data_preprocessor = dict(
    type='mmposenc.BatchPreprocessor',
    mean=[77.8, 77.8, 77.8],  # of the training digits without margin
    std=[95.9, 95.9, 95.9],
    train_transforms=[dict(type='mmposenc.BatchPlaceOnGrid')],  # no flip: a digit is not its mirror image
    test_transforms=[dict(type='mmposenc.BatchPlaceOnGrid')],
)
train_dataloader = dict(
    batch_size=16,  # small, for more steps per pass
    num_workers=0,
    drop_last=True,
    dataset=dict(type='mmposenc.GridDigits', split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='mmposenc.pass_batch'),
)
val_dataloader = dict(
    batch_size=360,
    num_workers=0,
    dataset=dict(type='mmposenc.GridDigits', split='test', all_cells=True),  # 355 digits in every cell
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='mmposenc.pass_batch'),
)
test_dataloader = val_dataloader

val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
