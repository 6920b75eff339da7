"""Figures by region, the fixed classes of harm, and the metric of sweeps."""

import pytest
import torch

from mmposenc.chance import image_interval
from mmposenc.regions import (
    MeanIoU,
    RegionStrips,
    confusion_margins,
    count_strips,
    margin_figures,
    segmentation_figures,
)


def harm(baseline: torch.Tensor, ablated: torch.Tensor) -> torch.Tensor:
    return margin_figures(baseline)[MeanIoU.harm_of] - margin_figures(ablated)[MeanIoU.harm_of]


def test_figures_by_hand() -> None:
    confusion = torch.tensor([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    margins = confusion_margins(confusion)
    assert margins.tolist() == [[8, 4, 0, 1], [7, 6, 0, 0], [6, 3, 0, 0]]
    figures = margin_figures(margins)
    assert figures['mIoU'].dtype == torch.float64
    assert figures['IoU'].tolist() == pytest.approx([100 * 6 / 9, 100 * 3 / 7, float('nan'), 0], nan_ok=True)
    assert figures['Acc'].tolist() == pytest.approx([75, 75, float('nan'), 0], nan_ok=True)
    assert figures['Dice'].tolist() == pytest.approx([100 * 12 / 15, 100 * 6 / 10, float('nan'), 0], nan_ok=True)
    assert float(figures['aAcc']) == pytest.approx(100 * 9 / 13)
    assert float(figures['mIoU']) == pytest.approx((100 * 6 / 9 + 100 * 3 / 7) / 3)
    assert float(figures['mAcc']) == pytest.approx(50)
    assert float(figures['mDice']) == pytest.approx((80 + 60) / 3)


def test_harm_is_the_drop_over_labelled_classes_by_hand() -> None:
    """mIoU also falls because ablation lets pixels be predicted as a class that is nowhere; harm does not."""
    #                     labelled      predicted     both
    baseline = torch.tensor([[10, 10, 0], [10, 10, 0], [8, 6, 0]])
    ablated = torch.tensor([[10, 10, 0], [10, 5, 5], [6, 3, 0]])
    before, after = (100 * 8 / 12 + 100 * 6 / 14) / 2, (100 * 6 / 14 + 100 * 3 / 12) / 2
    assert float(harm(baseline, ablated)) == pytest.approx(before - after)
    figures = margin_figures(torch.stack([baseline, ablated]))
    assert figures['mIoU'].tolist() == pytest.approx([before, after * 2 / 3])


def test_a_class_without_labels_in_a_bootstrap_draw_leaves_both_terms() -> None:
    """Class 1 is labelled in the second image only, where it is lost; class 0 keeps IoU 100 in both."""
    whole = torch.tensor([[[10, 0], [10, 0], [10, 0]], [[10, 10], [10, 10], [10, 10]]])
    ablated = torch.tensor([[[10, 0], [11, 0], [10, 0]], [[10, 10], [10, 0], [10, 0]]])
    harms = {
        times: float(harm(*(torch.tensordot(torch.tensor(times), x, 1) for x in (whole, ablated))))
        for times in ((2, 0), (1, 1), (0, 2))
    }
    assert harms[2, 0] == pytest.approx(100 - 100 * 20 / 22)
    assert harms[1, 1] == pytest.approx((100 - 100 * 20 / 21 + 100) / 2)
    assert harms[0, 2] == pytest.approx(50)
    low, high = image_interval(torch.stack([whole, ablated], 1), lambda sums: harm(sums[:, 0], sums[:, 1]))
    assert [float(low), float(high)] == pytest.approx([harms[2, 0], harms[1, 1]])


def test_the_sweeps_metric_counts_what_count_strips_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (3, 8, 10), generator=generator)
    labels[0, :3] = 255
    scores = torch.randn(3, 4, 8, 10, generator=generator)
    counts = MeanIoU().count(scores, labels)
    for image in range(3):
        expected = count_strips(labels[image], scores[image].argmax(0), 4, RegionStrips())
        assert counts[image].equal(confusion_margins(expected))
    named = MeanIoU(classes=tuple('abcd'))
    assert named.count(scores.argmax(1), labels[:, None]).equal(counts)
    figures = named.finish(counts.sum(0).double())
    assert set(figures) == {
        f'{region}/{figure}'
        for region in ('left', 'center', 'right', 'overall')
        for figure in ('mIoU', 'aAcc', 'mIoU_labelled', *(f'IoU/{name}' for name in 'abcd'))
    }
    left = segmentation_figures(
        sum(count_strips(labels[i, :, :5], scores[i, ..., :5].argmax(0), 4, RegionStrips({}))[0] for i in range(3))
    )
    assert float(figures['left/mIoU']) == float(left['mIoU'])
    assert float(figures['left/IoU/c']) == float(left['IoU'][2])
    assert MeanIoU(**named.document()).finish(counts.sum(0)) == figures


def test_scores_of_another_size_are_resized_before_the_decision() -> None:
    scores = torch.tensor([[[[3.0, 0.0]], [[0.0, 1.0]]]])
    counts = MeanIoU(regions={}).count(scores, torch.zeros(1, 1, 4, dtype=torch.int64))
    # Interpolated: class 0 has 3, 2.25, 0.75, 0, class 1 has 0, 0.25, 0.75, 1; equal scores go to the first class.
    assert counts[0, 0].tolist() == [[4, 0], [3, 1], [3, 0]]


LABELS = torch.zeros(2, 4, 4, dtype=torch.int64)


@pytest.mark.parametrize('metric, outputs, targets, message', [
    (MeanIoU(), torch.zeros(2, 1, 4, 4), LABELS, r'scores \(N, classes, h, w\)'),
    (MeanIoU(), torch.zeros(2, 3, 4, 4), LABELS.float(), 'label maps .* of integers'),
    (MeanIoU(), torch.zeros(2, 3), LABELS[:, 0, 0], 'mIoU needs label maps'),
    (MeanIoU(), LABELS, LABELS, 'with classes= given'),
    (MeanIoU('ab'), torch.zeros(2, 3, 4, 4), LABELS, '3 scores for 2 classes'),
    (MeanIoU('ab'), LABELS, LABELS + 2, r'label 2 in 16 pixels is outside the 2 classes'),
    (MeanIoU(), torch.full((2, 3, 4, 4), float('nan')), LABELS, 'NaN'),
])  # fmt: skip
def test_bad_input(metric: MeanIoU, outputs: torch.Tensor, targets: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric.count(outputs, targets)
