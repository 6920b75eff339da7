"""SortedPoolNeck keeps the values and forgets the channels."""

import pytest
import torch

from mmposenc.mm.models.permute_neck import PermuteNeck
from mmposenc.mm.models.sorted_pool_neck import SortedPoolNeck


def test_pooled_channels_come_sorted():
    # Channel means 3, 1 and 2.
    features = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    assert SortedPoolNeck()(features)[0].tolist() == [[3.0, 2.0, 1.0]]


def test_no_order_of_the_channels_changes_anything():
    features = torch.rand(4, 32, 3, 5)
    shuffled = PermuteNeck(pool=False, per_sample=True, seed=0)(features)
    assert not torch.equal(features, shuffled)
    assert torch.equal(SortedPoolNeck()(features)[0], SortedPoolNeck()(shuffled)[0])


def test_two_samples_with_the_same_sum_stay_apart():
    neck = SortedPoolNeck()
    assert neck(torch.tensor([[1.0, 3.0]]))[0].tolist() != neck(torch.tensor([[2.0, 2.0]]))[0].tolist()


def test_the_gradient_goes_back_to_the_channel_that_it_came_from():
    features = torch.tensor([[0.0, 5.0, 1.0]], requires_grad=True)
    (SortedPoolNeck()(features)[0] * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert features.grad.tolist() == [[100.0, 1.0, 10.0]]


def test_the_last_stage_is_taken_in_float32():
    (out,) = SortedPoolNeck()((torch.rand(2, 4, 3, 3), torch.rand(2, 8, 2, 2, dtype=torch.bfloat16)))
    assert out.shape == (2, 8)
    assert out.dtype == torch.float32


def test_a_feature_of_three_dimensions_is_refused():
    with pytest.raises(ValueError, match=r'SortedPoolNeck takes .*\(N, C, H, W\), got \(2, 7, 8\); .*out_type'):
        SortedPoolNeck()(torch.rand(2, 7, 8))
