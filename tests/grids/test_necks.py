"""The read-outs of Table 1: what each keeps of the pooled channels."""

import pytest
import torch

from mmposenc.grids.necks import PermuteNeck, SortedPoolNeck, SumPoolNeck

NECKS = (PermuteNeck, SortedPoolNeck, SumPoolNeck)
# Channel means 3, 1 and 2.
MAPS = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]], [[2.0, 2.0], [2.0, 2.0]]]])


def test_hand_computed_maps():
    assert SortedPoolNeck()(MAPS).tolist() == [[3.0, 2.0, 1.0]]
    assert SumPoolNeck()(MAPS).tolist() == [[6.0]]
    assert sorted(PermuteNeck()(MAPS)[0].tolist()) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('shape', [(), (3, 5)])
def test_permute_draws_one_order_for_the_batch_and_a_new_one_each_time(training: bool, shape: tuple[int, ...]):
    numbers = torch.arange(64.0) + 1000 * torch.arange(4.0)[:, None]
    features = numbers.view(4, 64, *(1,) * len(shape)).expand(4, 64, *shape)
    neck = PermuteNeck().train(training)
    first, second = neck(features), neck(features)
    orders = first - 1000 * torch.arange(4)[:, None]
    assert (orders == orders[0]).all()
    assert sorted(orders[0].tolist()) == list(range(64))
    assert orders[0].tolist() != list(range(64))
    assert not torch.equal(first, second)


@pytest.mark.parametrize('neck', NECKS)
def test_the_last_stage_of_a_tuple_in_float32_or_wider(neck: type):
    (out,) = neck()((torch.rand(1, 4, 3, 3), torch.rand(1, 8, 2, 2, dtype=torch.bfloat16)))
    assert out.shape == (1, 1 if neck is SumPoolNeck else 8)
    assert out.dtype == torch.float32
    assert neck()(torch.rand(2, 8, dtype=torch.float64)).dtype == torch.float64
    # 256 + 1 is 256 in bfloat16.
    assert neck()(torch.tensor([[256.0, 1.0]], dtype=torch.bfloat16)).sum() == 257


def test_a_feature_of_three_dimensions_is_refused():
    with pytest.raises(ValueError, match=r'SumPoolNeck takes .*\(N, C, H, W\), got \(2, 7, 8\); .*out_type'):
        SumPoolNeck()(torch.rand(2, 7, 8))
