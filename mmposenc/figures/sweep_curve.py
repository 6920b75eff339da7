"""From the points of a sweep to curves; the random draws become one, with mean and range."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmposenc.figures.sweep_table import SweepPoint

RANDOM = 'random'
CURVE_HEAD = [
    *('layer', 'region', 'ranking', 'kind', 'start', 'num_channels'),
    *('metric', 'value', 'low', 'high', 'draws'),
]


class SweepCurve(NamedTuple):
    """One curve: a metric against the channels that are off (Fig. 4 and 6).

    Args:
        layer: Where the channels are off.
        region: Where the metric is measured.
        ranking: Name of the ranking, or 'random'.
        kind: 'top' or 'window'.
        metric: Name of the metric.
        starts: Rank of the first channel that is off, point by point.
        sizes: How many are off.
        values: The metric in %; over the draws of 'random', their mean.
        lows: Over the draws, the smallest; otherwise the values.
        highs: Over the draws, the largest; otherwise the values.
        draws: How many random draws; 0 for a ranking.
    """

    layer: str
    region: str
    ranking: str
    kind: str
    metric: str
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    draws: int


def sweep_curves(points: Sequence[SweepPoint], metric: str, region: str = 'overall') -> list[SweepCurve]:
    """The curves of one metric in one region, random last at each layer (Fig. 4 and 6).

    Args:
        points: From `read_sweep`.
        metric: Name of the metric, such as mIoU.
        region: Where it is measured.

    Raises:
        ValueError: If there is no such metric or region, or the metric is not a number somewhere.
    """
    metrics = list(dict.fromkeys(name for point in points for name in point.figures))
    if metric not in metrics:
        raise ValueError(f'metric must be one of {", ".join(metrics) or "none (the sweep is empty)"}, got {metric}')
    regions = list(dict.fromkeys(point.region for point in points))
    if region not in regions:
        raise ValueError(f'region must be one of {", ".join(regions)}, got {region}')
    curves: dict[tuple[str, str, str], dict[tuple[int, int], list[float]]] = {}
    for point in points:
        if point.region == region:
            value = point.figures[metric]
            if not math.isfinite(value):
                raise ValueError(f'{metric} of region {region} is {value}: it has no pixel there, choose another one')
            curve = curves.setdefault((point.layer, point.ranking, point.kind), {})
            curve.setdefault((point.start, point.num_channels), []).append(value)
    layers = list(dict.fromkeys(layer for layer, _, _ in curves))
    ordered = sorted(curves, key=lambda key: (layers.index(key[0]), key[1] == RANDOM))
    return [_curve(key, metric, region, curves[key]) for key in ordered]


def curve_rows(curves: Sequence[SweepCurve]) -> list[list[Any]]:
    """Every point that is drawn, as rows under `CURVE_HEAD` (what lies behind Fig. 4 and 6)."""
    return [
        [curve.layer, curve.region, curve.ranking, curve.kind, start, size, curve.metric]
        + [f'{value:.6f}' for value in values]
        + [curve.draws or '']
        for curve in curves
        for start, size, *values in zip(curve.starts, curve.sizes, curve.values, curve.lows, curve.highs, strict=True)
    ]


def _curve(
    key: tuple[str, str, str], metric: str, region: str, points: dict[tuple[int, int], list[float]]
) -> SweepCurve:
    layer, ranking, kind = key
    places = sorted(points)
    columns = [
        (*place, math.fsum(points[place]) / len(points[place]), min(points[place]), max(points[place]))
        for place in places
    ]
    starts, sizes, values, lows, highs = zip(*columns, strict=True)
    draws = len(points[places[0]]) if ranking == RANDOM else 0
    return SweepCurve(layer, region, ranking, kind, metric, starts, sizes, values, lows, highs, draws)
