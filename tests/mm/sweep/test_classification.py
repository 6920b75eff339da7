"""Counts of a classifier's sweep against plain forwards with the channels ablated."""

import pytest
import torch
from tiny_networks import classification_batch, tiny_classifier, tiny_plan
from torch import Tensor

from mmposenc.channels import ablate_channels
from mmposenc.mm.sweep.classification import ClassificationSweep
from mmposenc.shifts import ShiftedViews


@torch.no_grad()
@pytest.mark.parametrize(
    'layer, level', [('neck', 'auto'), ('neck', '1'), ('backbone.layer4', '2'), ('backbone.layer3', '2')]
)
def test_top1_and_consistency_are_those_of_plain_forwards(layer: str, level: str) -> None:
    channels = 16 if layer == 'backbone.layer3' else 32
    model, data = tiny_classifier(), classification_batch(6)
    model.head.fc.bias -= model(data['inputs'], mode='tensor').mean(0)  # No class wins everywhere.
    plan = tiny_plan([layer], (0, 3, 8, channels), channels=channels)
    sweep = ClassificationSweep(model, plan, num_images=50, level=level)
    positions = [40, 41, 42, 3, 4, 5]
    counts = sweep.count(data, positions)
    assert counts.shape == (6, plan.num_runs, 3)
    assert sweep.forwards[layer].shares == (level != '1')
    (shifted,) = ShiftedViews([8], ['zero_ref'], 50).shifted('cons8_zero_ref', data['inputs'], positions)
    labels = torch.tensor([index % 5 for index in range(6)])

    def predict(images: Tensor, channels: tuple[int, ...]) -> Tensor:
        with ablate_channels(model, layer, channels):
            return model(images, mode='tensor').argmax(1)

    seen = set()
    for order in plan.orders:
        for run, (start, stop) in [(0, (0, 0)), *zip(order.runs, order.slices, strict=True)]:
            first, second = (predict(images, order.order[start:stop]) for images in (data['inputs'], shifted))
            hits = torch.stack([first == labels, first == second, torch.ones(6, dtype=torch.bool)], 1)
            assert counts[:, run].tolist() == hits.int().tolist()
            seen.add(tuple(first.tolist()))
    assert len(seen) > 3, 'the variants differ'


def test_consistency_can_be_left_out() -> None:
    plan = tiny_plan(['neck'])
    sweep = ClassificationSweep(tiny_classifier(), plan, 3, max_shift=0)
    assert sweep.metric.figures == ['top1']
    assert sweep.count(classification_batch(3), range(3)).shape == (3, plan.num_runs, 2)


def test_bad_input() -> None:
    model, plan = tiny_classifier(), tiny_plan(['neck'])
    sweep = ClassificationSweep(model, plan, 3)
    data = classification_batch(3)
    del data['data_samples'][1].gt_label
    with pytest.raises(ValueError, match='a sample has no gt_label'):
        sweep.count(data, range(3))
    data = classification_batch(3)
    data['inputs'][1] = torch.nan
    with pytest.raises(ValueError, match='the scores must be numbers, got NaN'):
        sweep.count(data, range(3))
    with pytest.raises(ValueError, match="level must be one of auto, 1, 2 for a classifier, got '3'"):
        ClassificationSweep(model, plan, 3, level='3')
    predict = model.head.predict
    model.head.predict = lambda feats, samples=None: [s.set_pred_label(1) for s in predict(feats, samples)]
    with pytest.raises(ValueError, match='predicts other classes than those with the largest score'):
        sweep.count(classification_batch(3), range(3))
