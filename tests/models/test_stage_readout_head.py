"""Three read-outs per stage, each on its own."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmposenc.mm.models.gap_logit_head import GAPLogitHead
from mmposenc.mm.models.stage_readout_head import StageReadoutHead

READOUTS = [f'stage{stage}/{kind}' for stage in (1, 2) for kind in ('gap', 'permute', 'sort')]


def stages(number: int = 3) -> list[torch.Tensor]:
    return [torch.rand(number, 4, 6, 6), torch.rand(number, 8, 3, 3)]


def test_gap_is_gapnets_head():
    head = StageReadoutHead(9, [4, 8], padding_mode='zeros')
    gapnet = GAPLogitHead(9, 8)
    gapnet.conv.load_state_dict(head.gap[1].state_dict())
    maps = stages()
    logits = head(maps)
    assert list(logits) == READOUTS
    torch.testing.assert_close(logits['stage2/gap'], gapnet(maps))


def test_with_circular_padding_gap_is_linear_in_the_pooled_channels():
    head, maps = StageReadoutHead(9, [4, 8]), stages()
    conv = head.gap[1]
    pooled = maps[1].mean((2, 3))
    torch.testing.assert_close(head(maps)['stage2/gap'], pooled @ conv.weight.sum((2, 3)).T + conv.bias)
    # So where something lies changes nothing; with padding of its own the read-out would tell by itself.
    moved = [stage.roll((1, 2), (2, 3)) for stage in maps]
    torch.testing.assert_close(head(moved)['stage1/gap'], head(maps)['stage1/gap'])
    zeros = StageReadoutHead(9, [4, 8], padding_mode='zeros')
    assert not torch.allclose(zeros(moved)['stage1/gap'], zeros(maps)['stage1/gap'])


def test_permute_is_a_linear_layer_on_shuffled_pooled_channels():
    head = StageReadoutHead(1, [2], ['layer4'])
    head.permute[0].weight.data = torch.tensor([[1.0, 10.0]])
    head.permute[0].bias.data.zero_()
    maps = [torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)]
    seen = {round(head(maps)['layer4/permute'].item(), 4) for _ in range(50)}
    assert seen == {21.0, 12.0}


def test_sort_is_a_linear_layer_on_sorted_pooled_channels():
    head = StageReadoutHead(1, [3], ['layer4'])
    head.sort[0].weight.data = torch.tensor([[1.0, 10.0, 100.0]])
    head.sort[0].bias.data.zero_()
    for order in ([1.0, 3.0, 2.0], [3.0, 2.0, 1.0]):
        maps = [torch.tensor(order).view(1, 3, 1, 1).expand(1, 3, 2, 2)]
        assert head(maps)['layer4/sort'].item() == pytest.approx(3 + 20 + 100)


def test_each_loss_is_a_cross_entropy_that_moves_its_own_read_out_only():
    head = StageReadoutHead(9, [4, 8])
    for parameter in head.parameters():
        parameter.data.zero_()
    samples = [DataSample().set_gt_label([0, 4, 8])]
    losses = head.loss(stages(), samples)
    assert list(losses) == [f'{name}/loss' for name in READOUTS]
    assert all(loss.item() == pytest.approx(2.1972, abs=1e-4) for loss in losses.values())  # ln 9
    losses['stage2/gap/loss'].backward()
    moved = {name for name, p in head.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {'gap.1.weight', 'gap.1.bias'}


def test_predictions_are_the_largest_logits():
    head = StageReadoutHead(3, [4])
    for layer, best in ((head.gap[0], 2), (head.permute[0], 1), (head.sort[0], 0)):
        layer.weight.data.zero_()
        layer.bias.data = torch.eye(3)[best]
    samples = head.predict(stages(2)[:1], [DataSample().set_gt_label(0), DataSample().set_gt_label(1)])
    assert [sample.readouts for sample in samples] == [{'stage1/gap': 2, 'stage1/permute': 1, 'stage1/sort': 0}] * 2
    assert [sample.gt_label.item() for sample in samples] == [0, 1]


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'num_classes': 0}, 'num_classes must be at least 1, got 0'),
        ({'names': ['a']}, 'names must name 2 stages, got a'),
        ({'padding_mode': 'zero'}, "padding_mode must be one of .*, got 'zero'"),
    ],
)
def test_bad_arguments(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        StageReadoutHead(**{'num_classes': 9, 'in_channels': [4, 8], **arguments})
