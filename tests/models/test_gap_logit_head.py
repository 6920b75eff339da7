"""GAPLogitHead pools logits."""

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmposenc.mm.models.gap_logit_head import GAPLogitHead


@pytest.mark.parametrize(
    'padding_mode, corner, centre',
    # A 3x3 map with a single 1 under a kernel of ones, summed over the nine windows. Both axes act alike, so the sum is
    # a square. A 1 at the corner, padded along one axis: zeros 0|100|0 (windows 1, 1, 0), reflect 0|100|0,
    # replicate 1|100|0 (2, 1, 0), circular 0|100|1 (1, 1, 1). At the centre: zeros, replicate and circular 0|010|0
    # (1, 1, 1), reflect 1|010|1 (2, 1, 2).
    [('zeros', 4, 9), ('reflect', 4, 25), ('replicate', 9, 9), ('circular', 9, 9)],
)
def test_a_hand_computed_map(padding_mode: str, corner: int, centre: int):
    head = GAPLogitHead(num_classes=2, in_channels=1, padding_mode=padding_mode)
    nn.init.ones_(head.conv.weight)
    head.conv.bias.data = torch.tensor([0.0, 10.0])
    for place, expected in ((0, corner), (1, centre)):
        features = torch.zeros(1, 1, 3, 3)
        features[..., place, place] = 1
        assert torch.allclose(head((features,)), torch.tensor([[expected / 9, expected / 9 + 10]]))


def test_it_is_the_mean_of_the_convolution_of_the_last_stage_and_has_no_linear_layer():
    head = GAPLogitHead(num_classes=4, in_channels=6)
    stages = (torch.rand(3, 2, 9, 9), torch.rand(3, 6, 5, 7))
    assert torch.allclose(head(stages), head.conv(stages[-1]).mean((2, 3)))
    assert torch.equal(head(stages), head(stages[-1]))
    assert not any(isinstance(module, (nn.Linear, nn.ReLU)) for module in head.modules())
    assert head.conv.bias is not None


def test_a_circular_head_does_not_see_a_roll_and_a_zero_padded_one_does():
    torch.manual_seed(0)
    features = torch.rand(2, 6, 5, 5)
    rolled = features.roll((2, 1), (2, 3))
    circular, zeros = (GAPLogitHead(4, 6, padding_mode=mode) for mode in ('circular', 'zeros'))
    zeros.load_state_dict(circular.state_dict())
    assert torch.allclose(circular(features), circular(rolled), atol=1e-6)
    assert not torch.allclose(zeros(features), zeros(rolled), atol=1e-3)


def test_loss_and_predictions_are_the_hosts():
    head = GAPLogitHead(num_classes=2, in_channels=1, cal_acc=True)
    nn.init.zeros_(head.conv.weight)
    nn.init.zeros_(head.conv.bias)
    samples = [DataSample().set_gt_label(torch.tensor([0, 1, 1]))]
    features = (torch.rand(3, 1, 4, 4),)
    assert head.loss(features, samples)['loss'].item() == pytest.approx(0.693147, abs=1e-6)  # ln 2
    head.conv.bias.data = torch.tensor([0.0, 1.0])
    assert [sample.pred_label.item() for sample in head.predict(features)] == [1, 1, 1]


def test_a_pooled_feature_is_refused():
    with pytest.raises(ValueError, match=r'feature maps \(N, C, H, W\), got \(2, 6\); remove the neck'):
        GAPLogitHead(4, 6)((torch.rand(2, 6),))


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match='num_classes must be at least 1, got 0'):
        GAPLogitHead(0, 6)


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="one of zeros, reflect, replicate, circular, got 'zero'"):
        GAPLogitHead(4, 6, padding_mode='zero')
