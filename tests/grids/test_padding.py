"""Other paddings of the same weights, total strides, random weights."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from mmposenc.grids.padding import PADDINGS, Padding, TotalStride, pad_maps
from mmposenc.grids.weights import calibrate_batch_norm, random_weights, without_position_embedding


@pytest.mark.parametrize('mode', PADDINGS)
def test_padded_maps_are_pytorchs_and_may_be_wider_than_the_map(mode: str):
    maps = torch.rand(1, 2, 5, 6)
    for layout in (torch.contiguous_format, torch.channels_last):
        padded = pad_maps(maps.contiguous(memory_format=layout), (2, 1, 0, 3), mode)
        assert torch.equal(padded, F.pad(maps, (2, 1, 0, 3), mode=mode))
        assert padded.is_contiguous(memory_format=layout)
    row = torch.tensor([[[[0.0, 1, 2]]]])
    wide = {'circular': [1, 2, 0, 1, 2, 0, 1, 2, 0, 1], 'reflect': [0, 1, 2, 1, 0, 1, 2, 1, 0, 1]}
    expected = wide.get(mode, [0, 0, 0, 0, 0, 1, 2, 2, 2, 2])
    shift = {'circular': 5, 'reflect': 4, 'replicate': 4}[mode]
    assert pad_maps(row, (shift, 7 - shift, 0, 0), mode)[0, 0, 0].tolist() == expected[:10]


@pytest.mark.parametrize('mode', PADDINGS)
def test_a_padded_convolution_equals_pytorchs_of_that_mode(mode: str):
    conv = nn.Conv2d(2, 3, (3, 5), stride=2, padding=(1, 2))
    other = nn.Conv2d(2, 3, (3, 5), stride=2, padding=(1, 2), padding_mode=mode)
    other.load_state_dict(conv.state_dict())
    image = torch.rand(2, 2, 8, 12)
    with Padding(mode):
        assert torch.equal(conv(image), other(image))
    assert not torch.equal(conv(image), other(image))


class TFSame(nn.Module):
    """Pads one pixel more on the right and the bottom, as TensorFlow does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, stride=2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(image, (0, 1, 0, 1)))


@pytest.mark.parametrize('layer', [
    nn.Conv2d(2, 4, 3, padding=1),
    nn.Conv2d(2, 4, 5, stride=2, padding=2, groups=2),
    nn.Conv2d(2, 4, 3, padding='same', dilation=2),
    nn.Conv2d(2, 4, 4, padding='same'),
    nn.Conv2d(2, 4, 3, padding=1, padding_mode='reflect'),
    nn.Conv2d(2, 4, 2, stride=2),
    TFSame(),
    timm.layers.Conv2dSame(2, 4, 3, stride=2),
    timm.layers.BlurPool2d(2),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d(3, 2, ceil_mode=True),
    timm.layers.create_pool2d('max', 3, 2, padding='same'),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.AvgPool2d(3, 2, ceil_mode=True),
    nn.Sequential(nn.ZeroPad2d((0, 1, 1, 0)), nn.Conv2d(2, 4, 2)),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_circular_padding_makes_every_layer_move_with_the_image(layer: nn.Module):
    layer = layer.double()
    image = torch.rand(1, 2, 16, 16, dtype=torch.float64)
    with torch.no_grad(), Padding('circular'), TotalStride(image) as strides:
        maps = layer(image)
        moved = layer(image.roll((4, -2), (2, 3)))
    stride = strides.of(maps)
    assert stride == 16 // maps.shape[-1]
    torch.testing.assert_close(moved, maps.roll((4 // stride, -2 // stride), (2, 3)), rtol=0, atol=1e-14)


def test_outside_the_block_nothing_is_changed_even_after_an_error():
    conv, image = nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 1, 4, 4)
    before = conv(image)
    with pytest.raises(RuntimeError), Padding('circular'):
        conv(torch.rand(1, 2, 4, 4))
    assert torch.equal(conv(image), before)
    with pytest.raises(ValueError, match="one of circular, reflect, replicate, got 'zeros'"):
        Padding('zeros')


def test_learned_position_is_zero_in_the_block_only():
    model = timm.create_model('vit_tiny_patch16_224', depth=1)
    model.relative = nn.Module()
    model.relative.position_embeddings = nn.Embedding(3, 2)
    model.relative.relative_position_bias_table = nn.Parameter(torch.ones(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match='inside'), without_position_embedding(model) as names:  # noqa: PT012
        assert sorted(names) == ['pos_embed', 'relative.position_embeddings.weight']
        assert model.pos_embed.count_nonzero() == model.relative.position_embeddings.weight.count_nonzero() == 0
        assert model.relative.relative_position_bias_table.sum() == 2
        raise RuntimeError('inside')
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize('forward, stride', [
    (lambda x: F.max_pool2d(F.conv2d(x, torch.rand(2, 2, 3, 3), stride=2), 2).mul_(2), 4),
    (lambda x: F.avg_pool2d(x, 4) + F.interpolate(F.avg_pool2d(x, 8), scale_factor=2), 8),
    (lambda x: torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1).mean((2, 3)), 2),
    (lambda x: F.pixel_unshuffle(x, 4).flatten(1), 4),
    (lambda x: F.avg_pool2d(F.conv2d(x, torch.rand(2, 2, 4, 4), stride=4), 4), 4),
    (lambda x: F.adaptive_avg_pool2d(x, 1) * x, 1),
], ids=['conv-pool', 'parallel', 'slices', 'unshuffle', 'global', 'excite'])  # fmt: skip
def test_the_total_stride_is_followed_along_every_path(forward, stride: int):
    image = torch.rand(1, 2, 16, 16)
    with TotalStride(image) as strides:
        output = forward(image)
    assert strides.of(output) == stride


def test_random_weights_differ_by_seed_and_the_own_ones_come_back():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, found = torch.get_rng_state(), {}
    for build in (
        None,
        lambda seed: torch.manual_seed(9 + seed) and nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    ):
        for seed in (0, 1, 0):
            with random_weights(model, seed, build):
                found.setdefault((build is None, seed), []).append(model[0].weight.clone())
            assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(*found[True, 0])
    assert torch.equal(*found[False, 0])
    assert len({weights[0].sum().item() for weights in found.values()}) == 4
    assert torch.equal(torch.get_rng_state(), state)


def test_autocast_sees_the_random_weights_and_the_own_ones():
    model, images = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        before = model(images)
        with random_weights(model, 7):
            assert not torch.equal(model(images), before)
        assert torch.equal(model(images), before)


def test_calibrated_statistics_are_those_of_the_forwards():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(2)).eval()
    images = 5 + 3 * torch.randn(64, 2, 4, 4)
    model[1].train()(images * 9)  # Earlier statistics are forgotten.
    calibrate_batch_norm(model, lambda: [model(half) for half in images.split(32)])
    torch.testing.assert_close(model[1].running_mean, images.mean((0, 2, 3)))
    assert model[1].momentum == 0.1
    assert not model[1].training
    torch.testing.assert_close(model(images).std((0, 2, 3)), torch.ones(2), rtol=0.02, atol=0)


@pytest.mark.parametrize('model, message', [
    (timm.create_model('vit_tiny_patch16_224', depth=1), 'VisionTransformer.* no reset_parameters: pass build='),
    (nn.Sequential(torchvision.ops.FrozenBatchNorm2d(2)), "'0' is frozen"),
    (nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(2, 2, 1))), "'0' .* computes its weight from other parameters"),
    (nn.Sequential(prune.identity(nn.Conv2d(2, 2, 1), 'weight')), "'0' .* computes its weight"),
])  # fmt: skip
def test_what_cannot_be_randomised_is_refused(model: nn.Module, message: str):
    with pytest.raises(ValueError, match=message), random_weights(model, 0):
        pass
