"""Which variants a sweep has, and which runs give them."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from planted import some_ranking

from mmposenc.channels.ablation import matched_random_channels, random_channels
from mmposenc.channels.sweep import SweepPlan, name_rankings
from mmposenc.channels.sweep_plan import known_activation
from mmposenc.ranking import Ranking


def ranking(scores: Any = (3, 9, 1, 7, 5, 0, 8, 2, 6, 4), **entries: Any) -> Ranking:
    return some_ranking(scores, **{'layer': 'a', **entries})


def test_all_points_of_a_small_sweep() -> None:
    plan = SweepPlan({'one': ranking()}, ['a'], [4, 0, 8, 4], window=4, num_random=2)
    points = [(v.ranking, v.draw, v.kind, v.start, v.stop, v.run) for v in plan.variants]
    assert points == [
        ('one', None, 'top', 0, 0, 0),
        ('one', None, 'top', 0, 4, 1),
        ('one', None, 'top', 0, 8, 2),
        ('one', None, 'window', 0, 4, 1),
        ('one', None, 'window', 4, 8, 3),
        ('random', 0, 'top', 0, 0, 0),
        ('random', 0, 'top', 0, 4, 4),
        ('random', 0, 'top', 0, 8, 5),
        ('random', 0, 'window', 0, 4, 4),  # The first window of a random order stands for all.
        ('random', 0, 'window', 4, 8, 4),
        ('random', 1, 'top', 0, 0, 0),
        ('random', 1, 'top', 0, 4, 6),
        ('random', 1, 'top', 0, 8, 7),
        ('random', 1, 'window', 0, 4, 6),
        ('random', 1, 'window', 4, 8, 6),
    ]
    assert plan.num_runs == 8
    assert [(order.slices, order.runs) for order in plan.orders] == [
        (((0, 4), (0, 8), (4, 8)), (1, 2, 3)),
        (((0, 4), (0, 8)), (4, 5)),
        (((0, 4), (0, 8)), (6, 7)),
    ]
    assert plan.orders[0].order == (1, 6, 3, 8, 4, 9, 0, 7, 2, 5)
    assert plan.orders[2].order == random_channels(10, 10, seed=1)


def test_windows_alone_have_their_control() -> None:
    plan = SweepPlan({'one': ranking()}, window=5, num_random=1)
    points = [(v.ranking, v.start, v.run) for v in plan.variants]
    assert points == [('one', 0, 1), ('one', 5, 2), ('random', 0, 3), ('random', 5, 3)]


def test_matched_orders_belong_to_a_ranking_and_a_layer() -> None:
    rankings, activation = {'one': ranking(), 'two': ranking(range(10))}, {'a': range(10), 'b': range(10, 0, -1)}
    plan = SweepPlan(rankings, ['a', 'b'], [3], num_matched=2, activation=activation)
    matched = [v for v in plan.variants if v.ranking == 'matched']
    assert [(v.layer, v.of, v.draw) for v in matched] == list(product('ab', ('one', 'two'), (0, 1)))
    orders = {run: order for order in plan.orders for run in order.runs}
    for v in matched:
        expected = matched_random_channels(rankings[v.of], list(activation[v.layer]), 10, v.draw)
        assert orders[v.run].order == expected


def test_a_reversed_ranking_has_reversed_random_orders() -> None:
    plan = SweepPlan({'left': ranking(range(10)), 'right': ranking(range(10, 0, -1))}, num_channels=[2], num_random=1)
    assert [v.ranking for v in plan.variants] == ['left', 'right', 'random', 'reversed']
    assert plan.orders[3].order == plan.orders[2].order[::-1]


def test_dead_channels_do_not_hide_that_a_ranking_is_another_one_reversed() -> None:
    scores = [3.0, 0.0, -1.0, 0.0]
    rankings = {'left': ranking(scores), 'right': ranking([-score for score in scores])}
    assert rankings['right'].order != rankings['left'].order[::-1], 'equal scores stand in channel order'
    assert 'reversed' in {v.ranking for v in SweepPlan(rankings, num_channels=[2], num_random=1).variants}
    rankings['right'] = ranking([-3.0, 0.0, 1.0, -0.5])
    assert 'reversed' not in {v.ranking for v in SweepPlan(rankings, num_channels=[2], num_random=1).variants}


def test_every_run_of_every_layer_is_computed_once() -> None:
    rankings = {'one': ranking(), 'two': ranking(range(10))}
    plan = SweepPlan(rankings, ['a', 'b[-1]'], range(0, 11, 5), window=3, num_random=1)
    runs = [run for order in plan.orders for run in order.runs]
    assert sorted(runs) == list(range(1, plan.num_runs))
    assert [order.layer for order in plan.orders_at('b[-1]')] == ['b[-1]'] * 3
    for v in plan.variants:
        if v.run and v.draw is None:
            (order,) = (order for order in plan.orders if v.run in order.runs)
            assert (order.layer, order.slices[order.runs.index(v.run)]) == (v.layer, (v.start, v.stop))


def test_neither_the_order_of_n_nor_the_kind_of_integer_matters() -> None:
    plans = [SweepPlan({'one': ranking()}, ['a'], n) for n in ([1, 5, 9], [9, 1, 5, 1], np.array([5, 9, 1]))]
    assert plans[0].variants == plans[1].variants == plans[2].variants
    assert SweepPlan({'one': ranking()}, ['a'], [1], np.int64(2), np.int32(3)).window == 2


def test_which_rankings_tell_the_mean_activation() -> None:
    kind = dict(statistic='mean_activation')
    rankings = {'one': ranking(), 'left': ranking(**kind, region='left'), 'all': ranking(range(10), **kind)}
    # The first of this pair has other kernels than the network.
    rankings['kernels'] = ranking(layer='b', pair='flip_image_flipped_kernels', **kind)
    plan = SweepPlan(rankings, ['a', 'b'], [1])
    assert known_activation(plan) == {'a': rankings['all'].scores}
    assert known_activation(plan, {'a': range(3), 'c': range(3)}) == {'a': range(3)}


def test_a_plan_survives_its_document() -> None:
    plan = SweepPlan({'one': ranking()}, None, [2, 4], 3, 2, 1, {'a': range(10)})
    again = SweepPlan.from_document(plan.document())
    assert (again.variants, again.orders, again.rankings) == (plan.variants, plan.orders, plan.rankings)


def test_names_of_rankings() -> None:
    strength = ranking(statistic='mean_activation', pair='none')
    named = name_rankings([ranking(), ranking(region='left'), strength])
    assert list(named) == ['flip_image-abs', 'left', 'mean_activation']
    assert list(name_rankings(ranking())) == ['flip_image-abs']
    with pytest.raises(ValueError, match='rankings need different names'):
        name_rankings([ranking(), ranking()])
    with pytest.raises(TypeError, match=r"rankings must be a list of Ranking or a dict of name=Ranking, got {'one'"):
        name_rankings({'one': 'ranking.json'})


@pytest.mark.parametrize('changes, error, message', [
    (dict(rankings={}), ValueError, 'at least one ranking'),
    (dict(rankings={'x': ranking(), 'y': ranking(range(9))}), ValueError, "same number .* got {'x': 10, 'y': 9}"),
    (dict(rankings={'random': ranking()}), ValueError, "name 'random' is reserved"),
    (dict(num_channels=[0, 11]), ValueError, 'num_channels must be from 0 to 10, the channels .* got 11'),
    (dict(num_channels=[-1]), ValueError, 'num_channels must be from 0 to 10, .* got -1'),
    (dict(num_channels=[1.0]), TypeError, r'num_channels must be a list of integers, got \[1.0\]'),
    (dict(num_channels=3), TypeError, 'num_channels must be a list of integers, got 3'),
    (dict(window=11), ValueError, 'window must be from 0 to 10, .* got 11'),
    (dict(num_random=-1), ValueError, 'num_random must be 0 or more, got -1'),
    (dict(num_random=10**9), ValueError, 'at most 1,000,000 variants'),
    (dict(num_matched=1), ValueError, "need the mean activation of the 10 channels of 'a', got 0 values"),
    (dict(num_channels=[], window=0), ValueError, 'nothing to sweep'),
    *((dict(layers=layers), TypeError, 'layers must be a list of names') for layers in ([], 'a', {'a'}, 5)),
])  # fmt: skip
def test_bad_input(changes: dict, error: type[Exception], message: str) -> None:
    arguments = dict(rankings={'one': ranking()}, layers=['a'], num_channels=[1], window=0, num_random=0)
    with pytest.raises(error, match=message):
        SweepPlan(**{**arguments, **changes})
