"""Tests of mmposenc.channels.kernel_flip."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from mmposenc.channels.kernel_flip import flipped_kernels


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


def test_a_kernel_is_mirrored_in_its_width_by_hand():
    conv = nn.Conv2d(1, 1, (2, 3), bias=True)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
        conv.bias.fill_(9)
    with flipped_kernels(conv):
        assert conv.weight.squeeze().tolist() == [[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]]
        assert conv.bias.item() == 9
    assert conv.weight.squeeze().tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_only_kernels_wider_than_one_are_mirrored_whatever_their_groups(net):
    before = [conv.weight.clone() for conv in net]
    with flipped_kernels(net):
        for conv, weight in zip(net, before, strict=True):
            assert torch.equal(conv.weight, weight.flip(-1))
        assert [torch.equal(conv.weight, weight) for conv, weight in zip(net, before, strict=True)] == [
            False,
            False,
            True,
            True,
            False,
        ]


def test_the_mirrored_net_is_the_net_seen_in_a_mirror(net):
    images = torch.rand(2, 3, 9, 13)
    with torch.no_grad():
        expected = net(images.flip(-1)).flip(-1)
        assert not torch.allclose(net(images), expected, atol=1e-3)
        with flipped_kernels(net):
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
