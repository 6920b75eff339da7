from typing import Any

import pytest
import torch

from mmposenc.channels.sweep import SweepPlan
from mmposenc.mm.sweep.random_control_table import HEAD, control_summary, random_control_table
from mmposenc.random_control import random_control
from mmposenc.ranking import Ranking


def plan(num_random: int) -> SweepPlan:
    kind: dict[str, Any] = dict(layer='x', statistic='abs', pair='flip_image', num_images=1)
    scores = {'one': [3.0, 2.0, 1.0], 'two': [1.0, 2.0, 3.0]}
    rankings = {name: Ranking(**kind, scores=values) for name, values in scores.items()}
    return SweepPlan(rankings, ['x', 'y'], [0, 1, 2], window=1, num_random=num_random)


def counts(plan: SweepPlan) -> dict[str, torch.Tensor]:
    return {
        name: torch.randint(50, 99, (6, plan.num_runs, 3, 2), generator=torch.Generator().manual_seed(seed))
        for seed, name in enumerate(('left', 'overall'))
    }


def test_every_ranking_is_compared_with_all_draws_of_its_layer_and_n() -> None:
    swept = plan(num_random=2)
    margins = counts(swept)
    head, rows = random_control_table(swept, margins)
    assert [row[:4] for row in rows] == [
        [layer, region, name, number]
        for layer in 'xy' for region in ('left', 'overall') for number in (1, 2) for name in ('one', 'two')
    ]  # fmt: skip
    runs = {(v.layer, v.ranking, v.draw, v.stop): v.run for v in swept.variants if v.kind == 'top'}
    for row in rows:
        layer, region, name, number = row[:4]
        drawn = [runs[layer, 'random', draw, number] for draw in (0, 1)]
        of = margins[region]
        (wanted,) = random_control(of[:, 0], of[:, [runs[layer, name, None, number]]], of[:, drawn])
        written = dict(zip(head, row, strict=True))
        figures = [float(written[key]) for key in head[4:]]
        assert figures == pytest.approx([wanted.harm, wanted.random, *wanted.excess], abs=1e-6)


def test_no_table_without_random_draws() -> None:
    swept = plan(num_random=0)
    assert random_control_table(swept, counts(swept)) == (HEAD, [])
    assert control_summary([]) == []


def test_the_summary_counts_the_intervals_on_one_side_of_0() -> None:
    def row(ranking: str, low: float, high: float, region: str = 'overall') -> list[Any]:
        return ['x', region, ranking, 1, '0', '0', '0', str(low), str(high)]

    rows = [row('a', 1, 2), row('a', -1, 2), row('a', -2, -1), row('b', 1, 3), row('a', 1, 2, 'left')]
    assert control_summary(rows) == [
        'a at x: its top N harm more than random channels at 1 of 3 N, less at 1, by the 95% interval',
        'b at x: its top N harm more than random channels at 1 of 1 N, less at 0, by the 95% interval',
    ]
