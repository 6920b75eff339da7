# The demo's network that has only seen digits in the middle: no crop at all.
_base_ = 'baseline_r18_digits.py'
data_preprocessor = dict(train_transforms=[])
