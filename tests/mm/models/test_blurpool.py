import pytest
import torch
from mmengine.registry import init_default_scope
from timm.layers import BlurPool2d

from mmposenc.registry import MODELS


@pytest.fixture
def build():
    init_default_scope('mmpretrain')
    return lambda **config: MODELS.build(
        dict(base_channels=4, stem_channels=4, **{'type': 'mmposenc.BlurPoolResNetCIFAR', 'depth': 18, **config})
    )


OPTIONS = dict(depth=18), dict(depth=50), dict(depth=50, style='caffe', strides=(1, 2, 4, 2))


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_every_stride_is_a_blur(build, options):
    backbone = build(**options)
    blurs = [m for m in backbone.modules() if isinstance(m, BlurPool2d)]
    strides = options.get('strides', (1, 2, 2, 2))[1:]  # three subsampling stages, main path and shortcut
    assert [blur.stride for blur in blurs] == [stride for stride in strides for _ in range(2)]
    assert all(m.stride == (1, 1) for m in backbone.modules() if isinstance(m, torch.nn.Conv2d))


def test_blur_stands_behind_the_relu_of_the_convolution_that_had_the_stride(build):
    block = build().layer2[0].eval()
    x = torch.randn(1, 4, 8, 8)
    blur, conv2 = block.conv2
    expected = block.relu(
        block.norm2(conv2(blur(block.relu(block.norm1(block.conv1(x))))))
        + block.downsample[1](block.downsample[0][1](block.downsample[0][0](x)))
    )
    assert torch.allclose(block(x), expected)


def test_more_stable_under_a_shift_than_the_plain_net(build):
    """Mean change of the pooled output when the input moves by one pixel (circularly), over seeds."""

    def change(kind):
        total = 0.0
        for seed in range(5):
            torch.manual_seed(seed)
            backbone = build(type=kind)
            backbone.init_weights()
            backbone.eval()
            image = torch.randn(8, 3, 32, 32)
            assert backbone(image)[-1].shape == (8, 32, 4, 4)
            with torch.no_grad():
                first, second = (backbone(x)[-1].mean((2, 3)) for x in (image, image.roll(1, 3)))
            total += float((first - second).norm() / first.norm())
        return total

    assert change('mmposenc.BlurPoolResNetCIFAR') < 0.8 * change('ResNet_CIFAR')
