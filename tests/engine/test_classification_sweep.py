import pytest
import torch
from tiny_networks import classification_batch, tiny_classifier, tiny_plan
from torch import Tensor

from mmposenc.channels.ablation import ablate_channels
from mmposenc.mm.sweep.classification import ClassificationSweep
from mmposenc.mm.sweep.levels import choose_level
from mmposenc.shifts.shifted_views import ShiftedViews


@torch.no_grad()
@pytest.mark.parametrize('layer, level', [('neck', '2'), ('neck', '1'), ('backbone.layer4', '1')])
def test_top1_and_consistency_are_those_of_the_plain_hook(layer: str, level: str) -> None:
    model, plan, data = tiny_classifier(), tiny_plan([layer]), classification_batch(6)
    sweep = ClassificationSweep(model, plan, {layer: choose_level(model, layer, level)}, num_images=50)
    positions = [40, 41, 42, 3, 4, 5]
    counts = sweep.count(data, positions)
    assert counts.shape == (6, plan.num_runs, 2)
    (shifted,) = ShiftedViews([8], ['zero_ref'], 50).shifted('cons8_zero_ref', data['inputs'], positions)
    labels = torch.tensor([index % 5 for index in range(6)])

    def predict(images: Tensor, channels: tuple[int, ...]) -> Tensor:
        with ablate_channels(model, layer, channels):
            return model(images, mode='tensor').argmax(1)

    seen = set()
    for group in plan.groups:
        for run, (start, stop) in [(0, (0, 0)), *zip(group.runs, group.slices, strict=True)]:
            first, second = (predict(images, group.order[start:stop]) for images in (data['inputs'], shifted))
            assert counts[:, run].tolist() == torch.stack([first == labels, first == second], 1).int().tolist()
            seen.add(tuple(first.tolist()))
    assert len(seen) > 3, 'the variants differ'


def test_the_table_by_hand() -> None:
    plan = tiny_plan(['neck'], [0, 4], window=0)
    counts = torch.zeros(4, 3, 2, dtype=torch.int32)
    counts[:3, 0, 0] = counts[:, 0, 1] = counts[:1, 1, 0] = 1
    sweep = ClassificationSweep(tiny_classifier(), plan, {}, 4)
    head, rows = sweep.tables(counts)['sweep.csv']
    assert head[-2:] == ['top1', 'cons8_zero_ref']
    assert rows == [
        ['neck', 'one', '', 'top', 0, 0, 'overall', '75.000000', '100.000000'],
        ['neck', 'one', '', 'top', 0, 4, 'overall', '25.000000', '0.000000'],
        ['neck', 'random', 0, 'top', 0, 0, 'overall', '75.000000', '100.000000'],
        ['neck', 'random', 0, 'top', 0, 4, 'overall', '0.000000', '0.000000'],
    ]
    assert sweep.summary(counts) == {'top1': 75, 'cons8_zero_ref': 100}


def test_consistency_can_be_left_out() -> None:
    model, plan = tiny_classifier(), tiny_plan(['neck'])
    sweep = ClassificationSweep(model, plan, {'neck': choose_level(model, 'neck')}, 3, max_shift=0)
    assert sweep.keys == ['top1']
    assert sweep.count(classification_batch(3), range(3)).shape == (3, plan.num_runs, 1)


def test_mistakes() -> None:
    model, plan = tiny_classifier(), tiny_plan(['neck'])
    sweep = ClassificationSweep(model, plan, {'neck': choose_level(model, 'neck')}, 3)
    data = classification_batch(3)
    del data['data_samples'][1].gt_label
    with pytest.raises(ValueError, match='a sample has no gt_label'):
        sweep.count(data, range(3))
    data = classification_batch(3)
    data['inputs'][1] = torch.nan
    with pytest.raises(ValueError, match='the scores must be numbers, got NaN'):
        sweep.count(data, range(3))
