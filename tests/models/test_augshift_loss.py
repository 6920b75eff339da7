import math

import pytest
import torch

from mmposenc.shifts.augshift import AugShiftLoss

SCORES = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
LABELS = torch.tensor([0, 1])
POOLED = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_hand_computed_terms():
    """CE of [0, 0] is log 2, of [0, log 3] for class 1 it is log(4/3); the MSE of (2, 0, 0, 0) is 4/4."""
    losses = AugShiftLoss(mse_weight=5.0)(
        (SCORES, 0 * SCORES), (POOLED, POOLED + torch.tensor([[2, 0], [0, 0]])), LABELS
    )
    assert list(losses) == ['loss_view1', 'loss_view2', 'loss_mse']
    assert losses['loss_view1'].item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert losses['loss_view2'].item() == pytest.approx(math.log(2))
    assert losses['loss_mse'].item() == pytest.approx(5.0)


def test_identical_views_cost_nothing_apart():
    assert AugShiftLoss()((SCORES, SCORES), (POOLED, POOLED), LABELS)['loss_mse'].item() == 0


def test_weight_zero_is_two_cross_entropies():
    losses = AugShiftLoss(0.0)((SCORES, SCORES), (POOLED, 9 * POOLED), LABELS)
    expected = 2 * torch.nn.functional.cross_entropy(SCORES, LABELS)
    assert sum(losses.values()).item() == pytest.approx(expected.item())


def test_gradient_reaches_both_views():
    first, second = POOLED.clone().requires_grad_(), (POOLED + 1).requires_grad_()
    AugShiftLoss(2.0)((SCORES, SCORES), (first, second), LABELS)['loss_mse'].backward()
    # d/dz1 of 2 * mean((z1 - z2)^2) over 4 entries of difference -1: 2 * 2 * (-1) / 4
    assert torch.allclose(first.grad, torch.full((2, 2), -1.0))
    assert torch.allclose(second.grad, torch.full((2, 2), 1.0))


def test_swapping_the_views_swaps_their_terms():
    other = SCORES.flip(0)
    one = AugShiftLoss()((SCORES, other), (POOLED, 2 * POOLED), LABELS)
    two = AugShiftLoss()((other, SCORES), (2 * POOLED, POOLED), LABELS)
    assert one['loss_view1'] == two['loss_view2']
    assert one['loss_mse'] == two['loss_mse']


def test_negative_weight():
    with pytest.raises(ValueError, match=r'mse_weight \(lambda\) must be at least 0, got -1'):
        AugShiftLoss(-1.0)
