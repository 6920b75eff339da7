"""A sweep whose losses are known by heart: each ablated channel costs a fixed number of points."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmposenc.channels.sweep import Sweep, SweepPlan
from mmposenc.ranking import Ranking

WHOLE = {'left': 70.0, 'right': 75.0, 'overall': 80.0}
# Points that a channel of a ranking costs, in the regions left, right and overall; of random order i: 0.5 + i / 100.
COSTS = {'flip': (3.0, 3.0, 5.0), 'left': (4.0, 1.0, 2.5), 'right': (1.0, 4.0, 2.5), 'dull': (0.5, 0.5, 0.5)}


class Points:
    """A metric whose sums are its figure in %, by region."""

    name, harm_of = '', 'score'
    regions: tuple[str, ...] = tuple(WHOLE)

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        return {f'{region}/score': sums[..., i] / sums[..., -1] for i, region in enumerate(WHOLE)}

    def document(self) -> dict:
        return {}


class ClassPoints(Points):
    """The same figures as IoUs of two classes; a third has no labels, and only the whole network predicts it."""

    harm_of, regions = 'IoU/building', ('overall',)

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        names = ('building', 'tree')
        figures = {f'IoU/{name}': sums[..., i] / sums[..., -1] for i, name in enumerate(names)}
        ghost = torch.full_like(sums[..., 0], torch.nan)
        ghost[..., 0] = 0
        return {**figures, 'IoU/ghost': ghost}


def ranking(name: str, layer: str = 'pool') -> Ranking:
    """A ranking of eight channels, by what its name says it measures."""
    signed = name in ('left', 'right')
    kind: dict[str, Any] = dict(statistic='signed' if signed else 'abs', region=name if signed else 'overall')
    scores = [(3 * i + len(name)) % 8 for i in range(8)]
    pair = 'roll_image' if name == 'dull' else 'flip_image'
    return Ranking(layer=layer, pair=pair, num_images=3, scores=scores, **kind)


def planted_sweep(
    names: Sequence[str] = ('flip', 'left', 'right'),
    layers: Sequence[str] = ('pool',),
    numbers: Sequence[int] = (0, 2, 4),
    window: int = 2,
    num_random: int = 19,
    num_matched: int = 0,
    metric: Points | None = None,
) -> Sweep:
    """Windows cost half a point a channel less for each rank that they start at; matched orders cost 1 point."""
    activation = {layer: [float(i) for i in range(8)] for layer in layers} if num_matched else None
    rankings = {name: ranking(name) for name in names}
    plan = SweepPlan(rankings, layers, numbers, window, num_random, num_matched, activation)
    whole = torch.tensor(list(WHOLE.values()))
    figures = whole.repeat(plan.num_runs, 1)
    for v in plan.variants:
        if v.run:
            costs = {'random': (0.5 + (v.draw or 0) / 100,) * 3, 'matched': (1.0,) * 3}.get(v.ranking)
            cost = torch.tensor(costs or COSTS[v.ranking.rstrip('0123456789')])
            figures[v.run] = whole - (v.stop - v.start) * (cost - (0.5 * v.start if v.draw is None else 0))
    counts = torch.cat([figures, torch.ones(len(figures), 1)], 1).double().repeat(3, 1, 1)
    return Sweep(plan, counts, metric or Points(), dict(model='net <1>', checkpoint_sha256='ab12'))
