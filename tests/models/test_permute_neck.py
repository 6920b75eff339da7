"""PermuteNeck reorders pooled channels, and nothing else."""

import copy

import pytest
import torch
from mmpretrain.models import build_classifier

from mmposenc.mm.models.permute_neck import PermuteNeck
from mmposenc.registry import MODELS

CHANNELS = 64


def channel_numbers(batch: int, *space: int) -> torch.Tensor:
    """A feature whose value is its channel's number, plus 1000 times its sample's."""
    numbers = torch.arange(CHANNELS, dtype=torch.float32) + 1000 * torch.arange(batch, dtype=torch.float32)[:, None]
    return numbers.view(batch, CHANNELS, *(1,) * len(space)).expand(batch, CHANNELS, *space)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('shape', [(), (3, 5)])
def test_one_order_for_the_whole_batch_in_training_and_testing(training: bool, shape: tuple[int, ...]):
    out = PermuteNeck(seed=0).train(training)(channel_numbers(4, *shape))
    assert out.shape == (4, CHANNELS)
    orders = out - 1000 * torch.arange(4)[:, None]
    assert (orders == orders[0]).all()
    assert sorted(orders[0].tolist()) == list(range(CHANNELS))
    assert orders[0].tolist() != list(range(CHANNELS))


def test_pooling_is_the_mean_over_height_and_width():
    # Sample 0: channel 0 holds 1, 2, 3, 6 (mean 3), channel 1 holds 0, 0, 0, 4 (mean 1).
    features = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert sorted(PermuteNeck()(features)[0].tolist()) == [1.0, 3.0]


def test_each_forward_draws_a_new_order():
    neck, features = PermuteNeck(seed=0), channel_numbers(1)
    assert not torch.equal(neck(features), neck(features))


def test_per_sample_draws_an_order_for_each_sample():
    orders = PermuteNeck(per_sample=True, seed=0)(channel_numbers(4, 2, 2)) - 1000 * torch.arange(4)[:, None]
    assert all(sorted(order.tolist()) == list(range(CHANNELS)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_test_time_false_keeps_the_order_in_testing_only():
    neck, features = PermuteNeck(test_time=False, seed=0), channel_numbers(2)
    assert not torch.equal(neck.train()(features), features)
    assert torch.equal(neck.eval()(features), features)


@pytest.mark.parametrize('per_sample', [False, True])
def test_a_seed_repeats_the_orders_and_leaves_the_global_state_alone(per_sample: bool):
    features, state = channel_numbers(3), torch.get_rng_state()
    first, second = (PermuteNeck(per_sample=per_sample, seed=7) for _ in range(2))
    for _ in range(3):
        assert torch.equal(first(features), second(features))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(PermuteNeck(per_sample=per_sample, seed=8)(features), PermuteNeck(seed=7)(features))
    assert torch.equal(copy.deepcopy(first)(features), first(features))  # as a moving average of the weights copies it


def test_without_a_seed_the_global_state_decides():
    outs = [torch.manual_seed(3) and PermuteNeck()(channel_numbers(2)) for _ in range(2)]
    assert torch.equal(*outs)


@pytest.mark.parametrize('per_sample', [False, True])
def test_pool_false_moves_whole_maps(per_sample: bool):
    features = torch.rand(2, CHANNELS, 3, 2)
    out = PermuteNeck(pool=False, per_sample=per_sample, seed=0)(features)
    assert out.shape == features.shape
    for sample, permuted in zip(features, out, strict=True):
        assert not torch.equal(sample, permuted)
        assert sorted(sample.flatten(1).tolist()) == sorted(permuted.flatten(1).tolist())


def test_the_sum_over_channels_is_unchanged_and_the_gradient_is_permuted_back():
    features = torch.rand(2, CHANNELS, 3, 3, requires_grad=True)
    out = PermuteNeck(seed=0)(features)
    assert torch.allclose(out.sum(1), features.mean((2, 3)).sum(1))
    out[:, 0].sum().backward()
    touched = features.grad.abs().sum((0, 2, 3)).nonzero().flatten()
    assert len(touched) == 1
    assert torch.allclose(features.grad[:, touched], torch.full((2, 1, 3, 3), 1 / 9))


def test_a_tuple_of_stages_stays_a_tuple_and_a_batch_of_one_keeps_its_dimension():
    stages = PermuteNeck()((torch.rand(1, 8, 4, 4), torch.rand(1, 16, 2, 2)))
    assert isinstance(stages, tuple)
    assert [stage.shape for stage in stages] == [(1, 8), (1, 16)]


def test_one_line_in_an_mmpretrain_config():
    model = build_classifier(
        {
            'type': 'ImageClassifier',
            'backbone': {'type': 'ResNet', 'depth': 18},
            'neck': {'type': 'mmposenc.PermuteNeck'},
            'head': {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 512},
        }
    )
    assert isinstance(model.neck, PermuteNeck)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)


def test_a_feature_of_three_dimensions_is_refused():
    with pytest.raises(ValueError, match=r'\(N, C\) or \(N, C, H, W\), got \(2, 7, 8\); .*out_type'):
        PermuteNeck()(torch.rand(2, 7, 8))


def test_the_repr_names_the_options():
    neck = MODELS.build({'type': 'PermuteNeck', 'seed': 5})
    assert repr(neck) == 'PermuteNeck(pool=True, per_sample=False, test_time=True, seed=5)'
