import pytest
import torch
from mmengine.registry import init_default_scope
from timm.layers import BlurPool2d

from mmposenc.registry import MODELS


def build(**options):
    init_default_scope('mmpretrain')
    small = dict(type='mmposenc.BlurPoolResNetCIFAR', base_channels=4, stem_channels=4)
    backbone = MODELS.build({**small, **options})
    backbone.eval()  # mmpretrain's returns None
    return backbone


OPTIONS = dict(depth=18), dict(depth=50), dict(depth=50, style='caffe', strides=(1, 2, 4, 2))


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_every_stride_is_a_blur(options):
    backbone = build(**options)
    blurs = [m for m in backbone.modules() if isinstance(m, BlurPool2d)]
    strides = options.get('strides', (1, 2, 2, 2))[1:]  # three subsampling stages, main path and shortcut
    assert [(blur.filt_size, blur.stride) for blur in blurs] == [(3, stride) for stride in strides for _ in range(2)]
    assert all(m.stride == (1, 1) for m in backbone.modules() if isinstance(m, torch.nn.Conv2d))


def test_blur_stands_behind_the_relu_of_the_convolution_that_had_the_stride():
    backbone = build(depth=18)
    assert backbone(torch.rand(2, 3, 32, 32))[-1].shape == (2, 32, 4, 4)
    block = backbone.layer2[0]
    x = torch.randn(1, 4, 8, 8)
    blur, conv2 = block.conv2
    expected = block.relu(
        block.norm2(conv2(blur(block.relu(block.norm1(block.conv1(x))))))
        + block.downsample[1](block.downsample[0][1](block.downsample[0][0](x)))
    )
    assert torch.allclose(block(x), expected)
