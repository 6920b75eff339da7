# The demo's AugShift (Sec. 4.1, Fig. 2), with the network and crop range of baseline_r18_digits.py, and no flip.
_base_ = 'baseline_r18_digits.py'
model = dict(type='mmposenc.AugShiftClassifier', loss=dict(type='mmposenc.AugShiftLoss', mse_weight=1.0))
data_preprocessor = dict(
    train_transforms=[
        dict(type='mmposenc.BatchTwoViews', transforms=[dict(type='mmposenc.BatchRandomShift', max_shift=8)])
    ]
)
