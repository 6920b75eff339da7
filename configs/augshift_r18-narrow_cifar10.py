# AugShift with 16 channels instead of 64 in the first stage, for use without a GPU: 10 epochs take half an hour on one
# CPU core, or less if compiled.
_base_ = 'baseline_r18-narrow_cifar10.py'
model = dict(type='mmposenc.AugShiftClassifier', loss=dict(type='mmposenc.AugShiftLoss', mse_weight=10.0))
data_preprocessor = dict(
    train_transforms=[
        dict(type='mmposenc.BatchRandomFlip', prob=0.5),
        dict(type='mmposenc.BatchTwoViews', transforms=[dict(type='mmposenc.BatchRandomShift', max_shift=8)]),
    ]
)
