"""Tests of mmposenc.channels.pairs: the kernel-flip identity, and what moves content only."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from mmposenc.channels.pairs import IMAGE_CHANGES, PAIRS, pooled_pairs
from mmposenc.channels.sums import PairedSums


def calibrated(model: nn.Module, images: torch.Tensor) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def scores(model, layer, images, pairs):
    result = {}
    for pair, (first, second) in pooled_pairs(model, layer, images, pairs).items():
        sums = PairedSums(first.shape[1])
        sums.update(first, second)
        result[pair] = sums.scores('abs')
    return result


@pytest.fixture(scope='module')
def resnet():
    torch.manual_seed(0)
    return resnet18(weights=None).double()


def test_image_changes_by_hand():
    image = torch.tensor([[[[1, 2, 3, 4], [5, 6, 7, 8]]]])
    changed = {name: change(image)[0, 0].tolist() for name, change in IMAGE_CHANGES.items()}
    assert changed == {
        'same': [[1, 2, 3, 4], [5, 6, 7, 8]],
        'flip': [[4, 3, 2, 1], [8, 7, 6, 5]],
        'flip_vertical': [[5, 6, 7, 8], [1, 2, 3, 4]],
        'roll': [[3, 4, 1, 2], [7, 8, 5, 6]],
    }


@pytest.mark.parametrize('width', [65, 97])
def test_both_kernel_flips_are_eq_2_at_widths_32k_plus_1(resnet, width):
    torch.manual_seed(1)
    images = torch.rand(3, 3, 33, width, dtype=torch.float64)
    kernel_flips = ['flip_image_flipped_kernels', 'flip_kernels']
    measured = scores(calibrated(resnet, images), 'layer4', images, ['flip_image', *kernel_flips])
    eq_2 = measured['flip_image']
    assert (eq_2 > 1e-3 * eq_2.mean()).all()
    for pair in kernel_flips:
        assert (measured[pair] - eq_2).abs().max() < 1e-10 * eq_2.mean()


def test_kernel_flips_differ_from_eq_2_at_even_widths(resnet):
    torch.manual_seed(1)
    images = torch.rand(3, 3, 32, 64, dtype=torch.float64)
    kernel_flips = ['flip_image_flipped_kernels', 'flip_kernels']
    measured = scores(calibrated(resnet, images), 'layer4', images, ['flip_image', *kernel_flips])
    for pair in kernel_flips:
        assert (measured[pair] - measured['flip_image']).abs().mean() > 0.1 * measured['flip_image'].mean()


def test_only_roll_image_tells_handed_kernels_from_position():
    # Circular padding and stride 1: the network cannot know a position, but its kernels have a left and a right side.
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 6, 3, padding=1, padding_mode='circular')
    blind = nn.Sequential(conv, nn.ReLU()).double()
    images = torch.rand(4, 3, 8, 10, dtype=torch.float64)
    measured = scores(blind, '1', images, list(PAIRS))
    assert measured['roll_image'].max() < 1e-14
    for pair in ('flip_image', 'flip_kernels', 'flip_image_flipped_kernels'):
        assert measured[pair].max() > 1e-3


def test_shared_members_run_once_and_each_pair_is_what_it_says(planted, lit_columns):
    seen = []
    planted.body.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    images = lit_columns(0, 3)
    together = pooled_pairs(planted, 'neck', images, list(PAIRS))
    assert len(seen) == 6
    for pair in PAIRS:
        alone = pooled_pairs(planted, 'neck', images, [pair])[pair]
        assert all(torch.equal(a, b) for a, b in zip(alone, together[pair], strict=True))
    assert len(seen) == 16
    x = {pair: (first[:, 0].tolist(), second[:, 0].tolist()) for pair, (first, second) in together.items()}
    assert x['flip_image'] == ([0, 0.75], [1, 0.25])
    assert x['roll_image'] == ([0, 0.75], [0.5, 0.0])
    assert x['flip_image_vertical'] == x['flip_kernels'] == ([0, 0.75], [0, 0.75])


def test_kernels_are_back_after_an_exception_in_a_forward(resnet):
    before = resnet.conv1.weight.clone()
    with pytest.raises(RuntimeError, match='expected input'):
        pooled_pairs(resnet, 'layer4', torch.zeros(1, 4, 33, 33, dtype=torch.float64), ['flip_kernels'])
    assert torch.equal(resnet.conv1.weight, before)


def test_unknown_pair(planted, lit_columns):
    with pytest.raises(ValueError, match=r"pair must be one of flip_image, .*, got 'flip'"):
        pooled_pairs(planted, 'neck', lit_columns(0), ['flip'])
    with pytest.raises(TypeError, match=r"write \['flip_image'\]"):
        pooled_pairs(planted, 'neck', lit_columns(0), 'flip_image')
