# Location on a 3x3 grid, read at every stage of torchvision's ImageNet ResNet-50, frozen (ours; Sec. 3).
_base_ = 'probe_r18_grid3-location_cifar10.py'
model = dict(
    backbone=dict(_delete_=True, type='torchvision.models.resnet50', weights='IMAGENET1K_V2'),
    layers=['layer1', 'layer2', 'layer3', 'layer4'],
    checkpoint=None,
)
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # ImageNet's: the network's
