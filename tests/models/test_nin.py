"""Network in Network as a backbone."""

import pytest
import torch
from mmpretrain.models import build_classifier
from torch import nn

from mmposenc.mm.models.nin import NIN
from mmposenc.mm.models.padding_modes import PADDING_MODES


def evaluating(net: nn.Module) -> nn.Module:
    net.eval()  # the hosts' backbones return nothing here
    return net


def test_shapes_and_the_number_of_parameters():
    net = evaluating(NIN(out_indices=(0, 1, 2), norm_cfg=None))
    stages = net(torch.rand(2, 3, 32, 32))
    assert [stage.shape for stage in stages] == [(2, 96, 32, 32), (2, 192, 16, 16), (2, 192, 8, 8)]
    # Lin et al.'s CIFAR-10 net has 966,986 parameters; the last 1x1 convolution to ten classes holds 1,930 of them.
    assert sum(p.numel() for p in net.parameters()) == 966_986 - 1_930


@pytest.mark.parametrize('padding_mode', PADDING_MODES)
def test_the_padding_reaches_every_convolution(padding_mode: str):
    convs = [module for module in NIN(padding_mode=padding_mode).modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 8
    assert {conv.padding_mode for conv in convs} == {padding_mode}


def test_a_constant_image_gives_a_constant_map_unless_zeros_are_padded():
    torch.manual_seed(0)
    image = torch.ones(1, 3, 32, 32)
    for mode in PADDING_MODES:
        (features,) = evaluating(NIN(padding_mode=mode))(image)
        spread = (features - features.mean((2, 3), keepdim=True)).abs().max() / features.abs().max()
        assert (spread > 0.01) == (mode == 'zeros'), (mode, spread)


def test_gapnet_and_permutenet_on_nin():
    for neck, head in (
        (None, {'type': 'mmposenc.GAPLogitHead'}),
        ({'type': 'mmposenc.PermuteNeck'}, {'type': 'LinearClsHead'}),
    ):
        model = build_classifier(
            {
                'type': 'ImageClassifier',
                'backbone': {'type': 'mmposenc.NIN'},
                'neck': neck,
                'head': {**head, 'num_classes': 9, 'in_channels': 192},
            }
        )
        assert model(torch.rand(2, 3, 96, 96)).shape == (2, 9)


def test_an_unknown_stage_is_refused():
    with pytest.raises(ValueError, match=r'out_indices must be among 0, 1, 2, the stages of NIN, got \(3,\)'):
        NIN(out_indices=(3,))
