# PermuteNet (Sec. 3, Fig. 1): pooled channels are shuffled. num_classes and the padding, if not zeros, are the leaf's.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmposenc.PositionResNet', depth=18),
    neck=dict(type='mmposenc.PermuteNeck'),
    head=dict(type='LinearClsHead', in_channels=512, loss=dict(type='CrossEntropyLoss')),
)
