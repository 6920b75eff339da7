"""PositionResNet is mmpretrain's ResNet without max-pool, with one padding everywhere."""

import pytest
import torch
from torch import nn

from mmposenc.mm.models.padding_modes import PADDING_MODES
from mmposenc.mm.models.position_resnet import PositionResNet
from mmposenc.registry import MODELS


def evaluating(net: nn.Module) -> nn.Module:
    net.eval()  # the hosts' backbones return nothing here
    return net


def test_resnet18_as_in_the_authors_code():
    net = evaluating(PositionResNet())
    (features,) = net(torch.rand(1, 3, 96, 96))
    assert features.shape == (1, 512, 6, 6)  # stride 16: 2 in the stem, 2 in each of three stages
    assert (net.conv1.kernel_size, net.conv1.stride, net.conv1.padding) == ((7, 7), (2, 2), (3, 3))
    assert not any(isinstance(module, nn.MaxPool2d) for module in net.modules())
    # torchvision's ResNet-18 has 11,689,512 parameters, of which the classifier 512 * 1000 + 1000.
    assert sum(p.numel() for p in net.parameters()) == 11_689_512 - 513_000


def test_the_blocks_start_with_their_last_normalisation_at_one():
    net = PositionResNet()
    net.init_weights()
    assert (net.layer1[0].norm2.weight == 1).all()
    zeroed = PositionResNet(zero_init_residual=True)
    zeroed.init_weights()
    assert (zeroed.layer1[0].norm2.weight == 0).all()


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('padding_mode', PADDING_MODES)
def test_the_padding_reaches_every_convolution(depth: int, padding_mode: str):
    net = MODELS.build({'type': 'PositionResNet', 'depth': depth, 'padding_mode': padding_mode})
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == {18: 20, 50: 53}[depth]
    assert {conv.padding_mode for conv in convs} == {padding_mode}


def test_with_circular_padding_a_roll_by_the_stride_moves_the_features_and_with_zeros_it_does_not():
    torch.manual_seed(0)
    images = torch.rand(1, 3, 64, 64)
    nets = {mode: evaluating(PositionResNet(padding_mode=mode)) for mode in ('circular', 'zeros')}
    nets['zeros'].load_state_dict(nets['circular'].state_dict())
    gaps = {}
    for mode, net in nets.items():
        (features,), (rolled,) = net(images), net(images.roll((16, 32), (2, 3)))
        gaps[mode] = ((rolled - features.roll((1, 2), (2, 3))).abs().max() / features.abs().max()).item()
    assert gaps['circular'] < 1e-5
    assert gaps['zeros'] > 0.05


def test_all_stages_and_other_options_of_the_host():
    net = PositionResNet(out_indices=(0, 1, 2, 3), base_channels=8, stem_channels=8)
    assert [stage.shape[1:] for stage in net(torch.rand(2, 3, 32, 32))] == [
        (8, 16, 16),
        (16, 8, 8),
        (32, 4, 4),
        (64, 2, 2),
    ]


def test_an_unknown_padding_and_an_unknown_argument_are_refused():
    with pytest.raises(ValueError, match=r"padding_mode must be one of .*, got 'same'"):
        PositionResNet(padding_mode='same')
    with pytest.raises(TypeError, match='padding'):
        PositionResNet(padding='zeros')
