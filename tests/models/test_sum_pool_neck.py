"""SumPoolNeck keeps one number, and that is what a linear layer behind PermuteNeck sees on average."""

from itertools import permutations

import pytest
import torch
from mmpretrain.models import build_classifier

from mmposenc.mm.models.permute_neck import PermuteNeck
from mmposenc.mm.models.sum_pool_neck import SumPoolNeck


def test_the_sum_of_the_pooled_channels():
    # Channel means 3 and 1.
    features = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert SumPoolNeck()(features)[0].tolist() == [[4.0]]


def test_no_order_of_the_channels_changes_anything():
    features = torch.rand(4, 32, 3, 5, dtype=torch.float64).float()
    shuffled = PermuteNeck(pool=False, per_sample=True, seed=0)(features)
    torch.testing.assert_close(SumPoolNeck()(features)[0], SumPoolNeck()(shuffled)[0])


def test_averaged_over_all_orders_a_linear_layer_sees_the_sum_alone():
    weights, vectors = torch.randn(5, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    orders = [vectors[:, list(order)] @ weights.T for order in permutations(range(4))]
    average = torch.stack(orders).mean(0)
    of_the_sum = vectors.sum(1, keepdim=True) @ weights.mean(1, keepdim=True).T
    torch.testing.assert_close(average, of_the_sum)


def test_it_stands_before_a_linear_head_of_one_channel():
    model = build_classifier(
        {
            'type': 'ImageClassifier',
            'backbone': {'type': 'ResNet', 'depth': 18, 'base_channels': 4, 'stem_channels': 4},
            'neck': {'type': 'mmposenc.SumPoolNeck'},
            'head': {'type': 'LinearClsHead', 'num_classes': 9, 'in_channels': 1},
        }
    )
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 9)


def test_the_sum_is_taken_in_float32():
    # 256 + 1 is 256 in bfloat16.
    (out,) = SumPoolNeck()(torch.tensor([[256.0, 1.0]], dtype=torch.bfloat16))
    assert out.tolist() == [[257.0]]


def test_a_feature_of_three_dimensions_is_refused():
    with pytest.raises(ValueError, match=r'SumPoolNeck takes .*got \(2, 7, 8\)'):
        SumPoolNeck()(torch.rand(2, 7, 8))
