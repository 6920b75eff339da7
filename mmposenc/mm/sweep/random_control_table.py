"""The table that says which rankings harm more than random channels."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmposenc.channels.sweep import SweepPlan
from mmposenc.random_control import random_control

HEAD = ['layer', 'region', 'ranking', 'num_channels', 'harm', 'harm_random', 'excess', 'excess_low', 'excess_high']


def random_control_table(plan: SweepPlan, counts: Mapping[str, Tensor]) -> tuple[list[str], list[list[Any]]]:
    """Harm of the top N of every ranking beside that of random channels (Sec. 4.2.2, Fig. 4 top).

    See `RandomControl` for the columns.

    Args:
        plan: What was swept.
        counts: Margins by region, each (images, runs, 3, classes).

    Returns:
        Head and rows; no row without random draws.
    """
    if not plan.num_random:
        return HEAD, []
    runs = {(v.layer, v.ranking, v.draw, v.stop): v.run for v in plan.variants if v.kind == 'top'}
    rows = []
    for layer in plan.layers:
        for region, margins in counts.items():
            for number in filter(None, plan.num_channels):
                ranked = [runs[layer, name, None, number] for name in plan.rankings]
                drawn = [runs[layer, 'random', draw, number] for draw in range(plan.num_random)]
                results = random_control(margins[:, 0], margins[:, ranked], margins[:, drawn])
                for name, result in zip(plan.rankings, results, strict=True):
                    figures = [result.harm, result.random, *result.excess]
                    rows.append([layer, region, name, number, *(f'{value:.6f}' for value in figures)])
    return HEAD, rows


def control_summary(rows: Sequence[Sequence[Any]]) -> list[str]:
    """A line for each layer and ranking: at how many N it harms the whole image more than random channels (Fig. 4).

    Args:
        rows: Of `random_control_table`.
    """
    lines = []
    whole = [dict(zip(HEAD, row, strict=True)) for row in rows if row[1] == 'overall']
    for layer, ranking in dict.fromkeys((row['layer'], row['ranking']) for row in whole):
        own = [row for row in whole if (row['layer'], row['ranking']) == (layer, ranking)]
        more, less = sum(float(row['excess_low']) > 0 for row in own), sum(float(row['excess_high']) < 0 for row in own)
        lines.append(
            f'{ranking} at {layer}: its top N harm more than random channels at {more} of {len(own)} N, '
            f'less at {less}, by the 95% interval'
        )
    return lines
