"""An anti-aliased ResNet, the comparison of Table 2."""

from typing import Any

from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import nn

from mmposenc.registry import MODELS


@MODELS.register_module()
class BlurPoolResNetCIFAR(ResNet_CIFAR):
    """mmpretrain's `ResNet_CIFAR` with a blur before every subsampling (Table 2, "BlurPool").

    After Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019: a strided convolution becomes a dense
    one, and timm's `BlurPool2d` takes the stride behind the ReLU that follows; in a shortcut it stands before the 1x1
    convolution.

    Args:
        filt_size: Width of the binomial blur in px. Default 3, timm's.
        **kwargs: The arguments of `ResNet_CIFAR`, such as `depth=18`.
    """

    def __init__(self, filt_size: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        try:
            from timm.layers import BlurPool2d
        except ImportError as error:
            raise ImportError('BlurPoolResNetCIFAR takes its blur from timm; run: pip install timm') from error
        for block in self.modules():
            if not isinstance(block, BasicBlock | Bottleneck) or block.stride == 1:
                continue
            first = isinstance(block, BasicBlock) or block.style == 'caffe'
            strided, following = ('conv1', 'conv2') if first else ('conv2', 'conv3')
            getattr(block, strided).stride = block.downsample[0].stride = (1, 1)
            for part, name in ((block, following), (block.downsample, '0')):
                conv = getattr(part, name)
                setattr(part, name, nn.Sequential(BlurPool2d(conv.in_channels, filt_size, block.stride), conv))
