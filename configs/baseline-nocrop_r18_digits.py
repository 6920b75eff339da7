# The demo's network without a random crop: in training it only sees digits in the middle of the image.
_base_ = 'baseline_r18_digits.py'
data_preprocessor = dict(train_transforms=[])
