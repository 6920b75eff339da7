"""Eq. 1 by hand, and its relative form."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmposenc.shifts import AugShiftLoss, augshift_loss

SCORES = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
LABELS = torch.tensor([0, 1])
POOLED = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_hand_computed_terms():
    """CE of [0, 0] is log 2, of [0, log 3] for class 1 it is log(4/3); the MSE of (2, 0, 0, 0) is 4/4."""
    arguments = (SCORES, 0 * SCORES), (POOLED, POOLED + torch.tensor([[2, 0], [0, 0]])), LABELS
    losses = AugShiftLoss(mse_weight=5.0)(*arguments)
    assert list(losses) == ['loss_view1', 'loss_view2', 'loss_mse']
    assert losses['loss_view1'].item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert losses['loss_view2'].item() == pytest.approx(math.log(2))
    assert losses['loss_mse'].item() == pytest.approx(5.0)
    assert augshift_loss(*arguments, mse_weight=5.0).item() == pytest.approx(sum(losses.values()).item())
    assert augshift_loss(*arguments, mse_weight=0.0).item() == pytest.approx(1.5 * math.log(2) + math.log(4 / 3) / 2)


def test_relative_by_hand():
    """Two images, two channels: views at (0, 2) and (4, 6), MSE 4, mean 3, variance (9 + 1 + 1 + 9) / 4 = 5; views at
    (1, 1) and (3, 3), MSE 0, variance 1.
    """
    pooled = torch.tensor([[0.0, 1], [4, 3]]), torch.tensor([[2.0, 1], [6, 3]])
    loss = AugShiftLoss(3.0, mse='relative')((SCORES, SCORES), pooled, LABELS)['loss_mse']
    assert loss.item() == pytest.approx(3 * ((4 + 0) / 2) / ((5 + 1) / 2))


def test_relative_has_no_gradient_along_the_scale_of_the_features():
    torch.manual_seed(0)
    features = torch.randn(2, 8, 5, requires_grad=True)
    slopes = {}
    for mse in ('absolute', 'relative'):
        AugShiftLoss(mse=mse)((torch.zeros(8, 2),) * 2, tuple(features), torch.zeros(8).long())['loss_mse'].backward()
        slopes[mse] = (features.grad * features).sum().item()
        features.grad = None
    assert slopes['relative'] == pytest.approx(0, abs=1e-5)
    assert slopes['absolute'] > 1


@pytest.mark.parametrize('mse', ['absolute', 'relative'])
def test_identical_and_constant_views_cost_nothing_apart(mse):
    for pooled in (POOLED, torch.ones(2, 2)):
        first = pooled.clone().requires_grad_()
        loss = AugShiftLoss(mse=mse)((SCORES, SCORES), (first, pooled), LABELS)['loss_mse']
        loss.backward()
        assert (loss.item(), first.grad.tolist()) == (0, [[0, 0], [0, 0]])


def test_gradient_reaches_both_views():
    """d/dz1 of 2 * mean((z1 - z2)^2) over 4 entries of difference -1: 2 * 2 * (-1) / 4."""
    first, second = POOLED.clone().requires_grad_(), (POOLED + 1).requires_grad_()
    AugShiftLoss(2.0)((SCORES, SCORES), (first, second), LABELS)['loss_mse'].backward()
    assert first.grad.tolist() == [[-1, -1], [-1, -1]]
    assert second.grad.tolist() == [[1, 1], [1, 1]]


def test_criterion_takes_the_place_of_the_cross_entropy():
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
    losses = AugShiftLoss()((SCORES, 2 * SCORES), (POOLED, POOLED), LABELS, smooth)
    assert losses['loss_view2'] == smooth(2 * SCORES, LABELS) != F.cross_entropy(2 * SCORES, LABELS)


@pytest.mark.parametrize('options, pooled, message', [
    ({'mse_weight': -1.0}, POOLED, r'mse_weight \(lambda\) must be at least 0, got -1'),
    ({'mse': 'scaled'}, POOLED, "mse must be 'absolute' or 'relative', got 'scaled'"),
    ({}, torch.rand(2, 2, 4, 4), r'pooled features \(N, C\) of two views, got shapes \(2, 2, 4, 4\)'),
    ({'mse': 'relative'}, POOLED[:1], 'at least 2 images per batch, got 1; set drop_last=True'),
])  # fmt: skip
def test_bad_input(options, pooled, message):
    with pytest.raises(ValueError, match=message):
        AugShiftLoss(**options)((SCORES, SCORES), (pooled, pooled), LABELS)


def test_pooled_features_without_a_gradient_are_refused():
    scores = SCORES.clone().requires_grad_()
    with pytest.raises(ValueError, match='carry no gradient, so the distance would train nothing'):
        augshift_loss((scores, scores), (POOLED, POOLED), LABELS)
    augshift_loss((scores, scores), (POOLED, POOLED), LABELS, mse_weight=0.0).backward()


def test_small_distances_of_half_precision_are_not_rounded():
    first, second = (torch.randn(8, 64, generator=torch.Generator().manual_seed(i)).mul(1e-3).half() for i in (0, 1))
    for mse in ('absolute', 'relative'):
        half, double = (
            AugShiftLoss(1, mse)((SCORES, SCORES), (first.to(kind), second.to(kind)), LABELS)['loss_mse']
            for kind in (torch.float16, torch.float64)
        )
        assert half.item() == pytest.approx(double.item(), rel=1e-4)
