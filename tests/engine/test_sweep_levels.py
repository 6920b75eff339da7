import pytest
import torch
from mmpretrain.models import ImageClassifier
from tiny_networks import segmentation_batch, tiny_classifier, tiny_plan, tiny_segmentor
from torch import nn

from mmposenc.mm.sweep.levels import POOLED_LAYER, SweepLevel, choose_level, expected_passes, module_shares


@pytest.mark.parametrize(
    'layer, level',
    [
        (POOLED_LAYER, 3),
        ('backbone[-1]', 3),
        ('backbone[3]', 3),
        ('decode_head.image_pool', 2),
        ('decode_head.bottleneck', 2),
        ('backbone[0]', 2),
        ('backbone.layer4', 1),
        ('backbone.layer2.0', 1),
    ],
)
def test_levels_of_an_aspp_head(layer: str, level: int) -> None:
    assert choose_level(tiny_segmentor(), layer).level == level


@pytest.mark.parametrize('head', ['fcn', 'psp', 'sep_aspp'])
def test_other_heads_fall_back_and_say_why(head: str) -> None:
    choice = choose_level(tiny_segmentor(head), 'backbone[-1]')
    assert choice.level == 2
    assert 'not ASPPHead' in choice.reason


@pytest.mark.parametrize(
    'options', [dict(norm_cfg=None), dict(norm_cfg=dict(type='GN', num_groups=2)), dict(act_cfg=None)]
)
def test_an_aspp_head_of_other_blocks_falls_back(options: dict) -> None:
    assert choose_level(tiny_segmentor(**options), POOLED_LAYER).level == 2


def test_an_aspp_head_on_joined_features_falls_back_at_the_backbone() -> None:
    model = tiny_segmentor(in_channels=[16, 32], in_index=[2, 3], input_transform='resize_concat')
    assert choose_level(model, 'backbone[-1]').level == 2
    assert choose_level(model, POOLED_LAYER).level == 3


def test_a_classifier_and_a_plain_module() -> None:
    assert isinstance(tiny_classifier(), ImageClassifier)
    assert choose_level(tiny_classifier(), 'neck').level == 2
    assert choose_level(tiny_classifier(), 'backbone.layer4').level == 1
    plain = nn.Sequential(nn.Conv2d(3, 4, 1))
    assert choose_level(plain, '0') == SweepLevel(1, 'the model has no backbone to share')


def test_a_level_can_be_asked_for_but_not_above_what_is_possible() -> None:
    model = tiny_segmentor()
    assert [choose_level(model, POOLED_LAYER, level).level for level in ('1', '2', '3')] == [1, 2, 3]
    with pytest.raises(ValueError, match=r"level 3 is not possible at 'backbone\.layer4': the layer lies inside"):
        choose_level(model, 'backbone.layer4', '3')
    with pytest.raises(ValueError, match="level must be one of auto, 1, 2, 3, got '4'"):
        choose_level(model, POOLED_LAYER, '4')
    with pytest.raises(ValueError, match=r"layer 'decode_head\.gap' does not exist"):
        choose_level(model, 'decode_head.gap')


def test_shares_are_those_of_the_multiply_adds() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 3, padding=1))
    shares = module_shares(model, lambda: model(torch.zeros(1, 3, 5, 5)))
    assert shares['0'] == pytest.approx(12 / 84)
    assert shares['1'] == pytest.approx(72 / 84)


def test_expected_cost_by_hand() -> None:
    shares = {
        'backbone': 0.6,
        'decode_head.aspp_modules': 0.3,
        'decode_head.bottleneck': 0.09,
        'decode_head.conv_seg': 0.01,
    }
    for layer, level, passes in (
        ('backbone[-1]', 1, 1 + 11),
        ('backbone[-1]', 2, 1 + 11 * 0.4),
        (POOLED_LAYER, 3, 1 + 11 * 0.01),
        ('backbone[-1]', 3, 1 + 2 * 0.3 + 11 * 0.1),
    ):
        plan = tiny_plan([layer])
        assert plan.num_runs == 12
        assert expected_passes(plan, {layer: SweepLevel(level, '')}, shares) == pytest.approx(passes)


@torch.no_grad()
def test_a_higher_level_costs_less() -> None:
    model, data = tiny_segmentor(), segmentation_batch(1, 32, 64)
    shares = module_shares(model, lambda: model(data['inputs'], mode='tensor'))
    head = ('aspp_modules', 'image_pool', 'bottleneck', 'conv_seg')
    assert shares['backbone'] + sum(shares[f'decode_head.{name}'] for name in head) == pytest.approx(1)
    for layer in (POOLED_LAYER, 'backbone[-1]'):
        plan = tiny_plan([layer])
        costs = [expected_passes(plan, {layer: SweepLevel(level, '')}, shares) for level in (1, 2, 3)]
        assert costs[0] == plan.num_runs > costs[1] > costs[2] > 1
