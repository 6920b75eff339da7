"""count_strips and segmentation_figures."""

import math

import pytest
import torch

from mmposenc.regions.confusion import count_strips, segmentation_figures
from mmposenc.regions.strips import RegionStrips

HALVES = RegionStrips({'left': (0, 0, 0.5, 1), 'right': (0.5, 0, 1, 1)})
LABELS = torch.tensor([[0, 0, 1, 255], [0, 1, 1, 2]])
PREDICTION = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 1]])


def test_counts_by_hand():
    left, right = count_strips(LABELS, PREDICTION, 3, HALVES)
    assert left.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert right.tolist() == [[0, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_figures_by_hand():
    figures = segmentation_figures(count_strips(LABELS, PREDICTION, 3, HALVES).sum(0))
    # Class 0: 2 of 3 found, 3 predicted. Class 1: 2 of 3, 4 predicted. Class 2: 0 of 1, none predicted.
    assert figures['IoU'].tolist() == pytest.approx([100 * 2 / 4, 100 * 2 / 5, 0])
    assert figures['Acc'].tolist() == pytest.approx([100 * 2 / 3, 100 * 2 / 3, 0])
    assert figures['Dice'].tolist() == pytest.approx([100 * 4 / 6, 100 * 4 / 7, 0])
    assert float(figures['aAcc']) == pytest.approx(100 * 4 / 7)
    assert float(figures['mIoU']) == pytest.approx(30)


def test_absent_classes_are_left_out_of_the_means():
    left = segmentation_figures(count_strips(LABELS, PREDICTION, 3, HALVES)[0])
    assert math.isnan(left['IoU'][2])
    assert float(left['mIoU']) == pytest.approx((100 * 2 / 3 + 100 * 1 / 2) / 2)
    # A class that is predicted but never labelled has IoU 0 and no Acc.
    figures = segmentation_figures(torch.tensor([[3, 1], [0, 0]]))
    assert figures['IoU'].tolist() == [75, 0]
    assert float(figures['mAcc']) == 75
    assert all(math.isnan(value) for value in segmentation_figures(torch.zeros(2, 2))['IoU'])


def test_variants_count_as_each_alone_and_in_any_type():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (7, 13), generator=generator)
    labels[2] = 255
    variants = torch.randint(0, 5, (2, 3, 7, 13), generator=generator)
    counts = count_strips(labels, variants, 5, RegionStrips())
    assert counts.shape == (2, 3, 4, 5, 5)
    assert counts.dtype == torch.int64
    assert counts.sum((-3, -2, -1)).eq(7 * 13 - 13).all()
    for i in range(2):
        for j in range(3):
            assert counts[i, j].equal(count_strips(labels, variants[i, j], 5, RegionStrips()))
    assert counts.equal(count_strips(labels.to(torch.uint8), variants.to(torch.uint8), 5, RegionStrips()))
    assert counts.equal(count_strips(labels, variants.float(), 5, RegionStrips()))
    assert count_strips(labels, variants[:0, 0], 5, RegionStrips()).shape == (0, 4, 5, 5)


def test_arguments_are_left_as_they_were():
    labels, prediction = LABELS.clone(), PREDICTION.clone()
    count_strips(labels, prediction, 3, HALVES)
    assert labels.equal(LABELS)
    assert prediction.equal(PREDICTION)


def test_figures_keep_leading_dimensions():
    counts = torch.stack([torch.eye(3), torch.ones(3, 3)])
    assert segmentation_figures(counts)['mIoU'].tolist() == pytest.approx([100, 20])


@pytest.mark.parametrize('label', [3, 11, -1, 254, 300])
def test_labels_outside_the_classes_are_refused(label):
    labels = LABELS.clone()
    labels[0, 0] = label
    with pytest.raises(ValueError, match=rf'label {label} in 1 pixels is outside the 3 classes: .* 0\.\.2 or ignore_i'):
        count_strips(labels, PREDICTION, 3, HALVES)


def test_predictions_outside_the_classes_are_refused_where_they_count():
    prediction = PREDICTION.clone()
    prediction[0, 3] = 255  # A void pixel: not counted.
    assert count_strips(LABELS, prediction, 3, HALVES).equal(count_strips(LABELS, PREDICTION, 3, HALVES))
    prediction[0, 0] = 3
    with pytest.raises(ValueError, match=r'prediction 3 in 1 pixels is outside the 3 classes'):
        count_strips(LABELS, prediction, 3, HALVES)


def test_ignore_index_may_be_a_class_or_negative():
    counts = count_strips(LABELS.clamp(max=2), PREDICTION, 3, HALVES, ignore_index=0)
    assert counts.sum(0)[0].sum() == 0
    assert counts.sum() == 5
    labels = torch.where(LABELS == 255, -100, LABELS)
    expected = count_strips(LABELS, PREDICTION, 3, HALVES)
    assert count_strips(labels, PREDICTION, 3, HALVES, ignore_index=-100).equal(expected)


def test_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r'of the same size, got \(2, 4\) and \(2, 3\)'):
        count_strips(LABELS, PREDICTION[:, :3], 3, HALVES)
