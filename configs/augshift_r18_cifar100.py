# AugShift on CIFAR-100 (Sec. 4.1, Fig. 2, Table 2). Both views share the flip, and each has its own shift.
_base_ = 'baseline_r18_cifar100.py'
model = dict(type='mmposenc.AugShiftClassifier', loss=dict(type='mmposenc.AugShiftLoss', mse_weight=10.0))  # our choice
data_preprocessor = dict(
    train_transforms=[
        dict(type='mmposenc.BatchRandomFlip', prob=0.5),
        dict(type='mmposenc.BatchTwoViews', transforms=[dict(type='mmposenc.BatchRandomShift', max_shift=8)]),
    ]
)
