"""Networks of mmseg and mmpretrain with a few channels and batch norms that do something, and their batches.

Segmentation in float64, where ties between classes do not depend on the order of summation.
"""

from typing import Any

import torch
from mmengine import ConfigDict
from mmengine.structures import PixelData
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from planted import some_ranking
from torch import nn

from mmposenc.channels.sweep import SweepPlan

NORM = dict(type='BN')
HEADS: dict[str, dict[str, Any]] = {
    'aspp': dict(type='ASPPHead', dilations=(1, 2, 3)),
    'fcn': dict(type='FCNHead', num_convs=1),
    'sep_aspp': dict(type='DepthwiseSeparableASPPHead', dilations=(1, 2, 3), c1_in_channels=4, c1_channels=4),
    'psp': dict(type='PSPHead', pool_scales=(1, 2, 3)),
}
CLASSES = ['a', 'b', 'c', 'd', 'e']


def tiny_segmentor(head: str = 'aspp', mode: str = 'whole', kind: Any = EncoderDecoder, **options: Any) -> Any:
    """C = 32 channels at the backbone's end, at an eighth of the size."""
    torch.manual_seed(0)
    backbone = dict(type='ResNetV1c', depth=18, base_channels=4, stem_channels=4)
    backbone.update(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    decode_head = {**HEADS[head], **dict(in_channels=32, channels=8, num_classes=5, norm_cfg=NORM), **options}
    test_cfg = ConfigDict(mode=mode, crop_size=(32, 32), stride=(16, 16))
    return spread(kind(backbone=backbone, decode_head=decode_head, test_cfg=test_cfg)).double()


def tiny_classifier() -> ImageClassifier:
    """C = 32 channels at the neck."""
    torch.manual_seed(0)
    model = ImageClassifier(
        backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=32),
    )
    return spread(model)


def spread(model: nn.Module) -> Any:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
        elif isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.out_channels == 5):
            nn.init.normal_(module.weight)
    return model.eval()


def segmentation_batch(images: int, height: int, width: int, **meta: Any) -> dict:
    generator = torch.Generator().manual_seed(0)
    meta = {**dict.fromkeys(('ori_shape', 'img_shape', 'pad_shape'), (height, width)), **meta}
    samples = []
    for _ in range(images):
        labels = torch.randint(0, 5, (1, *meta['ori_shape']), generator=generator)
        labels[:, :2] = 255
        samples.append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels)))
    return dict(inputs=torch.randn(images, 3, height, width, generator=generator).double(), data_samples=samples)


def classification_batch(images: int, size: int = 32) -> dict:
    generator = torch.Generator().manual_seed(0)
    samples = [DataSample().set_gt_label(index % 5) for index in range(images)]
    return dict(inputs=torch.randn(images, 3, size, size, generator=generator), data_samples=samples)


def tiny_plan(layers: list[str], num_channels: Any = (0, 3, 8, 16, 32), channels: int = 32) -> SweepPlan:
    ranking = some_ranking(torch.rand(channels, generator=torch.Generator().manual_seed(7)))
    return SweepPlan({'one': ranking}, layers, num_channels, window=8, num_random=1)
