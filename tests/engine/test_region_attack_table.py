from typing import Any

import pytest
import torch

from mmposenc.channels.channel_choice import random_ranking
from mmposenc.channels.sweep import SweepPlan
from mmposenc.mm.sweep.region_attack_table import HEAD, attack_summary, region_attack_table
from mmposenc.ranking import Ranking
from mmposenc.region_attack import region_attack


def ranking(region: str) -> Ranking:
    return Ranking(layer='x', statistic='abs', pair='flip_image', scores=[3.0, 2.0, 1.0], num_images=1, region=region)


@pytest.fixture
def plan() -> SweepPlan:
    regions = {'r': 'right', 'all': 'overall', 'l': 'left', 'later': 'left'}
    return SweepPlan({name: ranking(region) for name, region in regions.items()}, ['x', 'y'], [0, 1, 3], num_random=1)


def test_each_half_is_compared_with_its_own_side_first(plan: SweepPlan) -> None:
    counts = {
        name: torch.randint(50, 99, (6, plan.num_runs, 3, 2), generator=torch.Generator().manual_seed(seed))
        for seed, name in enumerate(('left', 'right', 'overall'))
    }
    head, rows = region_attack_table(plan, counts)
    assert [row[:3] for row in rows] == [
        [layer, side, number] for layer in 'xy' for side in ('left', 'right') for number in (1, 3)
    ]
    runs = {(v.layer, v.ranking, v.stop): v.run for v in plan.variants if v.kind == 'top'}
    for row in rows:
        layer, side, number = row[:3]
        names = ('l', 'all', 'r') if side == 'left' else ('r', 'all', 'l')
        wanted: Any = region_attack(*(counts[side][:, run] for run in (0, *(runs[layer, n, number] for n in names))))
        written = dict(zip(head, row, strict=True))
        assert [float(written[f'harm_{name}']) for name in ('own', 'overall', 'other')] == pytest.approx(
            wanted.harm, abs=1e-6
        )
        assert float(written['own_minus_overall_low']) == pytest.approx(wanted.first_gap[1], abs=1e-6)
        assert float(written['overall_minus_other_high']) == pytest.approx(wanted.second_gap[2], abs=1e-6)
        assert (written['holds'], written['certain']) == (str(wanted.holds).lower(), str(wanted.certain).lower())


def test_no_table_without_the_three_rankings_and_both_halves(plan: SweepPlan) -> None:
    counts = {name: torch.ones(1, plan.num_runs, 3, 2) for name in ('left', 'overall')}
    assert region_attack_table(plan, counts)[1] == []
    alone = SweepPlan({'one': random_ranking(3, 0, 'x')}, ['x'], [0, 1])
    both = {name: torch.ones(1, 2, 3, 2) for name in ('left', 'right', 'overall')}
    assert region_attack_table(alone, both)[1] == []


def test_the_summary_counts_the_rows_where_the_order_holds() -> None:
    def row(region: str, number: int, holds: str, certain: str) -> list[Any]:
        return ['x', region, number, *['0'] * (len(HEAD) - 6), holds, certain, '50.0']

    rows = [row('left', 1, 'true', 'true'), row('left', 2, 'true', 'false'), row('right', 1, 'false', 'false')]
    assert attack_summary(rows) == [
        'region attack at x, left half: harm left > overall > right holds at 2 of 2 N, '
        'at 1 with both 95% intervals above 0',
        'region attack at x, right half: harm right > overall > left holds at 0 of 1 N, '
        'at 0 with both 95% intervals above 0',
    ]
    assert attack_summary([]) == []
