"""Pairs of forwards: the kernel-flip identity, what moves content only, and weights that come back bit by bit."""

import pytest
import torch
from planted import lit_columns
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.models import resnet18

from mmposenc.channels import IMAGE_CHANGES, PAIRS, flipped_kernels, pooled_pairs


def calibrated(model: nn.Module, images: torch.Tensor) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def scores(model, layer, images, pairs):
    pooled = pooled_pairs(model, layer, images, pairs)
    return {pair: (first.double() - second.double()).abs().mean(0) for pair, (first, second) in pooled.items()}


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
        'roll_vertical': [[5, 6, 7, 8], [1, 2, 3, 4]],
    }


@pytest.mark.parametrize('width', [64, 65, 97])
def test_both_kernel_flips_are_eq_2_at_widths_32k_plus_1_alone(resnet, width):
    torch.manual_seed(1)
    images = torch.rand(3, 3, 33, width, dtype=torch.float64)
    kernel_flips = ['flip_image_flipped_kernels', 'flip_kernels']
    measured = scores(calibrated(resnet, images), 'layer4', images, ['flip_image', *kernel_flips])
    eq_2 = measured['flip_image']
    assert (eq_2 > 1e-3 * eq_2.mean()).all()
    for pair in kernel_flips:
        difference = (measured[pair] - eq_2).abs() / eq_2.mean()
        assert difference.mean() > 0.1 if width == 64 else difference.max() < 1e-10


def test_only_rolls_tell_handed_kernels_from_position():
    # Circular padding and stride 1: the network cannot know a position, but its kernels have a left and a right side.
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 6, 3, padding=1, padding_mode='circular')
    blind = nn.Sequential(conv, nn.ReLU()).double()
    images = torch.rand(4, 3, 8, 10, dtype=torch.float64)
    measured = scores(blind, '1', images, list(PAIRS))
    assert max(measured['roll_image'].max(), measured['roll_image_vertical'].max()) < 1e-14
    for pair in ('flip_image', 'flip_kernels', 'flip_image_flipped_kernels'):
        assert measured[pair].max() > 1e-3


def test_shared_members_run_once_and_each_pair_is_what_it_says(planted):
    seen = []
    planted.body.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    images = lit_columns(0, 3)
    together = pooled_pairs(planted, 'neck', images, list(PAIRS))
    assert len(seen) == 7
    for pair in PAIRS:
        alone = pooled_pairs(planted, 'neck', images, [pair])[pair]
        assert all(torch.equal(a, b) for a, b in zip(alone, together[pair], strict=True))
    assert len(seen) == 19
    x = {pair: (first[:, 0].tolist(), second[:, 0].tolist()) for pair, (first, second) in together.items()}
    assert x['flip_image'] == ([0, 0.75], [1, 0.25])
    assert x['roll_image'] == ([0, 0.75], [0.5, 0.0])
    assert x['flip_image_vertical'] == x['flip_kernels'] == ([0, 0.75], [0, 0.75])


def test_unknown_pair(planted):
    with pytest.raises(ValueError, match=r"pair must be one of flip_image, .*, got 'flip'"):
        pooled_pairs(planted, 'neck', lit_columns(0), ['flip'])
    with pytest.raises(TypeError, match=r"a list of names such as \['flip_image'\], got 'flip_image'"):
        pooled_pairs(planted, 'neck', lit_columns(0), 'flip_image')
    with pytest.raises(TypeError, match='a list of names'):
        pooled_pairs(planted, 'neck', lit_columns(0), {'flip_image'})


def test_kernel_flips_under_autocast_are_those_of_float32():
    torch.manual_seed(1)
    images = torch.rand(2, 3, 33, 65)
    model = calibrated(resnet18().float(), images)
    expected = scores(model, 'layer4', images, ['flip_kernels', 'flip_image'])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        measured = scores(model, 'layer4', images, ['flip_kernels', 'flip_image'])
        again = scores(model, 'layer4', images, ['flip_kernels', 'flip_image'])
    assert expected['flip_kernels'].mean() > 1e-2
    for pair in expected:
        assert (measured[pair] - expected[pair]).abs().mean() < 0.1 * expected[pair].mean()
        assert torch.equal(measured[pair], again[pair])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, padding=3),
        nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=4),
        nn.Conv2d(8, 8, (3, 1), padding=(1, 0)),
        nn.Conv2d(8, 8, 1),
        nn.ConvTranspose2d(8, 4, 3, padding=1),
    )


def bits(module):
    return [tensor.clone().view(torch.int32) for tensor in module.state_dict().values()]


def test_kernels_wider_than_one_are_mirrored_and_the_net_is_the_net_seen_in_a_mirror(net):
    before, images = [conv.weight.clone() for conv in net], torch.rand(2, 3, 9, 13)
    with torch.no_grad():
        expected = net(images.flip(-1)).flip(-1)
        assert not torch.allclose(net(images), expected, atol=1e-3)
        with flipped_kernels(net):
            assert all(torch.equal(conv.weight, weight.flip(-1)) for conv, weight in zip(net, before, strict=True))
            same = [torch.equal(conv.weight, weight) for conv, weight in zip(net, before, strict=True)]
            assert same == [False, False, True, True, False]
            torch.testing.assert_close(net(images), expected)


def test_weights_come_back_bit_by_bit_also_after_an_exception(net):
    net[0].weight.data[0, 0, 0, :2] = torch.tensor([float('nan'), -0.0])
    net.to(memory_format=torch.channels_last)
    before, strides = bits(net), [conv.weight.stride() for conv in net]
    parameters = list(net.parameters())
    with flipped_kernels(net):
        pass
    with pytest.raises(RuntimeError, match='inside'), flipped_kernels(net):
        raise RuntimeError('inside')
    assert all(torch.equal(old, new) for old, new in zip(before, bits(net), strict=True))
    assert [conv.weight.stride() for conv in net] == strides
    assert all(old is new for old, new in zip(parameters, net.parameters(), strict=True))
    assert list(net.state_dict()) == [f'{i}.{name}' for i in range(5) for name in ('weight', 'bias')]


def test_twice_is_the_identity_and_a_shared_kernel_is_mirrored_once(net):
    before = bits(net)
    with flipped_kernels(net), flipped_kernels(net):
        assert all(torch.equal(old, new) for old, new in zip(before, bits(net), strict=True))
    shared = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    shared[1].weight = shared[0].weight
    weight = shared[0].weight.clone()
    with flipped_kernels(shared):
        assert torch.equal(shared[1].weight, weight.flip(-1))


def test_a_computed_weight_is_refused_and_nothing_is_mirrored():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), parametrizations.weight_norm(nn.Conv2d(1, 1, 3)))
    before = net[0].weight.clone()
    with pytest.raises(ValueError, match=r"kernel of '1' .* must be a parameter of its own"), flipped_kernels(net):
        pass
    assert torch.equal(net[0].weight, before)


@pytest.mark.parametrize(
    'net, message',
    [
        (nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3))), r"kernels of '0' cannot be mirrored: it is TorchScript"),
        (nn.Sequential(nn.Conv2d(3, 4, 1)), 'no Conv2d whose kernel is wider than 1'),
    ],
)
def test_kernels_that_cannot_be_mirrored(net: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message), flipped_kernels(net):
        pass
