from typing import Any

import pytest

from mmposenc.channels.channel_choice import random_channels, random_ranking
from mmposenc.channels.sweep import SweepPlan


def ranking(seed: int = 7, total: int = 10) -> Any:
    return random_ranking(total, seed, 'a')


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
        ('random', 1, 'top', 0, 0, 0),
        ('random', 1, 'top', 0, 4, 6),
        ('random', 1, 'top', 0, 8, 7),
    ]
    assert plan.num_runs == 8
    assert [(group.slices, group.runs) for group in plan.groups] == [
        ([(0, 4), (0, 8), (4, 8)], [1, 2, 3]),
        ([(0, 4), (0, 8)], [4, 5]),
        ([(0, 4), (0, 8)], [6, 7]),
    ]
    assert plan.groups[0].order == tuple(ranking().order)
    assert plan.groups[2].order[:4] == random_channels(10, 4, seed=1)


def test_every_run_of_every_layer_is_computed_once() -> None:
    plan = SweepPlan({'one': ranking(), 'two': ranking(8)}, ['a', 'b[-1]'], range(0, 11, 5), window=3, num_random=1)
    runs = [run for group in plan.groups for run in group.runs]
    assert sorted(runs) == list(range(1, plan.num_runs))
    assert {variant.run for variant in plan.variants} == set(range(plan.num_runs))
    assert [group.layer for group in plan.groups_at(['b[-1]'])] == ['b[-1]'] * 3
    for variant in plan.variants:
        if variant.run:
            (group,) = (group for group in plan.groups if variant.run in group.runs)
            assert group.layer == variant.layer
            assert group.slices[group.runs.index(variant.run)] == (variant.start, variant.stop)


def test_the_order_of_n_does_not_matter() -> None:
    forward, backward = (SweepPlan({'one': ranking()}, ['a'], n) for n in ([1, 5, 9], [9, 1, 5, 1]))
    assert forward.variants == backward.variants
    assert forward.groups == backward.groups


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(rankings={}), 'at least one ranking'),
        (dict(rankings={'x': ranking(), 'y': ranking(total=9)}), "same number of channels, got {'x': 10, 'y': 9}"),
        (dict(rankings={'random': ranking()}, num_random=1), "name 'random' is that of the random draws"),
        (dict(num_channels=[0, 11]), 'num_channels must be from 0 to 10, the channels that the rankings have, got 11'),
        (dict(num_channels=[-1]), 'num_channels must be from 0 to 10, .* got -1'),
        (dict(window=11), 'window must be from 0 to 10, .* got 11'),
        (dict(num_random=-1), 'num_random must be 0 or more, got -1'),
        (dict(num_channels=[], window=0), 'nothing to sweep'),
        (dict(layers=[]), 'one or more layers, each once'),
        (dict(layers=['a', 'a']), 'one or more layers, each once'),
        (dict(layers=['a[']), 'dotted module path'),
    ],
)
def test_mistakes(changes: dict, message: str) -> None:
    arguments = dict(rankings={'one': ranking()}, layers=['a'], num_channels=[1], window=0, num_random=0)
    with pytest.raises(ValueError, match=message):
        SweepPlan(**{**arguments, **changes})


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(num_channels=[1.0]), 'num_channels must be integers, got float'),
        (dict(layers='a'), 'must be a list of names'),
    ],
)
def test_wrong_types(changes: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        SweepPlan(**{**dict(rankings={'one': ranking()}, layers=['a'], num_channels=[1]), **changes})
