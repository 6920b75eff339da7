"""A sweep whose losses are known by heart: each ablated channel costs a fixed number of points."""

from collections.abc import Sequence

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
    regions = tuple(WHOLE)

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        return {f'{region}/score': sums[..., i] / sums[..., -1] for i, region in enumerate(WHOLE)}

    def document(self) -> dict:
        return {}


def ranking(name: str, layer: str = 'pool') -> Ranking:
    signed = name in ('left', 'right')
    kind = dict(statistic='signed', region=name) if signed else dict(statistic='abs', region='overall')
    scores = list(range(8)) if name == 'right' else [(5 * i) % 8 for i in range(8)]
    return Ranking(
        layer=layer, pair='roll_image' if name == 'dull' else 'flip_image', num_images=3, scores=scores, **kind
    )


def planted_sweep(
    names: Sequence[str] = ('flip', 'left', 'right'),
    layers: Sequence[str] = ('pool',),
    numbers: Sequence[int] = (0, 2, 4),
    window: int = 2,
    num_random: int = 19,
    num_matched: int = 0,
) -> Sweep:
    """Windows cost half a point a channel less for each rank that they start at; matched orders cost 1 point."""
    activation = {layer: [float(i) for i in range(8)] for layer in layers} if num_matched else None
    plan = SweepPlan({n: ranking(n) for n in names}, layers, numbers, window, num_random, num_matched, activation)
    figures = torch.tensor(list(WHOLE.values())).repeat(plan.num_runs, 1)
    for v in plan.variants:
        costs = {'random': [0.5 + (v.draw or 0) / 100] * 3, 'matched': [1.0] * 3}.get(v.ranking)
        cost = torch.tensor(costs or COSTS[v.ranking]) - (0.5 * v.start if v.draw is None else 0)
        if v.run:
            figures[v.run] = torch.tensor(list(WHOLE.values())) - (v.stop - v.start) * cost
    counts = torch.cat([figures, torch.ones(len(figures), 1)], 1).double().repeat(3, 1, 1)
    return Sweep(plan, counts, Points(), dict(model='net <1>', checkpoint_sha256='ab12'))
