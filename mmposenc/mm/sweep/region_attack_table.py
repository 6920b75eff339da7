"""The table that says which rankings harm which side most."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmposenc.channels.sweep import SweepPlan
from mmposenc.region_attack import region_attack

HEAD = [
    'layer',
    'region',
    'num_channels',
    'harm_own',
    'harm_overall',
    'harm_other',
    'own_minus_overall',
    'own_minus_overall_low',
    'own_minus_overall_high',
    'overall_minus_other',
    'overall_minus_other_low',
    'overall_minus_other_high',
    'holds',
    'certain',
    'share',
]


def region_attack_table(plan: SweepPlan, counts: Mapping[str, Tensor]) -> tuple[list[str], list[list[Any]]]:
    """Harm of left, overall and right rankings in each half, at every N (Sec. 4.2.3, Fig. 6 and its other half).

    Of several rankings with the same region the first is taken. See `RegionAttack` for the columns.

    Args:
        plan: What was swept.
        counts: Margins by region, each (images, runs, 3, classes).

    Returns:
        Head and rows; no row unless rankings and regions for left, right and overall are among them.
    """
    rankings: dict[str, str] = {}
    for name, ranking in plan.rankings.items():
        rankings.setdefault(ranking.region, name)
    if not {'left', 'right', 'overall'} <= rankings.keys() or not {'left', 'right'} <= counts.keys():
        return HEAD, []
    runs = {
        (variant.layer, variant.ranking, variant.stop): variant.run
        for variant in plan.variants
        if variant.kind == 'top'
    }
    rows = []
    for layer in plan.layers:
        for region, other in (('left', 'right'), ('right', 'left')):
            for number in filter(None, plan.num_channels):
                sides = [runs[layer, rankings[side], number] for side in (region, 'overall', other)]
                baseline, own, overall, opposite = (counts[region][:, run] for run in (0, *sides))
                result = region_attack(baseline, own, overall, opposite)
                numbers = [*result.harm, *result.first_gap, *result.second_gap]
                verdict = [str(result.holds).lower(), str(result.certain).lower(), f'{result.share:.1f}']
                rows.append([layer, region, number, *(f'{value:.6f}' for value in numbers), *verdict])
    return HEAD, rows


def attack_summary(rows: Sequence[Sequence[Any]]) -> list[str]:
    """A line for each layer and half: at how many N the order of Fig. 6 holds (Sec. 4.2.3).

    Args:
        rows: Of `region_attack_table`.
    """
    lines = []
    for layer, region in dict.fromkeys((row[0], row[1]) for row in rows):
        found = [dict(zip(HEAD, row, strict=True)) for row in rows if (row[0], row[1]) == (layer, region)]
        holds, certain = (sum(row[name] == 'true' for row in found) for name in ('holds', 'certain'))
        order = 'left > overall > right' if region == 'left' else 'right > overall > left'
        lines.append(
            f'region attack at {layer}, {region} half: harm {order} holds at {holds} of {len(found)} N, '
            f'at {certain} with both 95% intervals above 0'
        )
    return lines
