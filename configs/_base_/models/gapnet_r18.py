# GAPNet (Sec. 3, Fig. 1): logits are pooled. num_classes and the padding, if not zeros, are the leaf's.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmposenc.PositionResNet', depth=18),
    head=dict(type='mmposenc.GAPLogitHead', in_channels=512),
)
