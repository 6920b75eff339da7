# ResNet-18 with the 3x3 stem for 32x32 images (mmpretrain's). num_classes is the leaf's.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=512, loss=dict(type='CrossEntropyLoss')),
)
