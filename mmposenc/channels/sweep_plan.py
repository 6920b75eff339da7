"""What a sweep runs and what it measures: every point of every curve, and the metrics (Fig. 4 and 6)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from reprlib import repr as short
from typing import Any, Protocol

import torch
from scipy.stats import spearmanr
from torch import Tensor

from mmposenc.channels.ablation import matched_random_channels, random_channels, whole_number, whole_numbers
from mmposenc.ranking import Ranking

RANDOM, MATCHED, REVERSED = 'random', 'matched', 'reversed'
MOST_VARIANTS = 1_000_000


@dataclass(frozen=True)
class SweepVariant:
    """One point of one curve: some channels of an order are ablated at a layer (Sec. 4.2.2, Fig. 4).

    Args:
        ranking: Name of the ranking, or 'random', 'matched' or 'reversed' (a random order from its end).
        of: For 'matched', the ranking whose strength the draw matches; otherwise ''.
        draw: Number of the draw; None for a ranking.
        kind: 'top' for the N top-ranked channels (Fig. 4 top), 'window' for consecutive ranks (Fig. 4 bottom).
        start, stop, run: Ranks start to stop - 1 are ablated in forward number `run`; run 0 ablates none.
    """

    layer: str
    ranking: str
    of: str
    draw: int | None
    kind: str
    start: int
    stop: int
    run: int


@dataclass(frozen=True)
class SweepOrder:
    """The runs of an order of channels, top-ranked first; `slices` are (start, stop) of the ranks that each ablates."""

    layer: str
    order: tuple[int, ...]
    slices: tuple[tuple[int, int], ...]
    runs: tuple[int, ...]

    def ablations(self) -> list[tuple[int, tuple[int, ...]]]:
        """Each run, and the channels that it ablates."""
        return [(run, self.order[start:stop]) for run, (start, stop) in zip(self.runs, self.slices, strict=True)]


class SweepPlan:
    """All variants of a sweep and the runs that give them (Sec. 4.2.2 and 4.2.3, Fig. 4 and 6).

    Points that need the same forward share one run: N = 0 is run 0 everywhere, and the first window of a ranking is its
    top N of that size. Windows lie side by side from rank 0 on; an incomplete last one is left out. The first window
    of a random order stands for all, which are equally random. Where one ranking is another one reversed, or a left and
    a right one oppose each other (Spearman below 0), random orders are swept reversed too (see `chance.dissociation`).

    Args:
        rankings: Rankings by name, all with the same number of channels C.
        layers: Where channels are ablated; every ranking is used at each. Default: the layers of the rankings.
        num_channels: The N of the top-N variants, in any order.
        window: Size of the windows; 0 for none.
        num_random: Number of random orders, the control of Fig. 4; draw i has the seed i.
        num_matched: Number of random orders for each ranking that match it in strength, see `matched_random_channels`.
            Rankings cannot share them: the top N of two rankings hold different numbers of each bin.
        activation: Mean activation of the C channels by layer, for `num_matched`.
    """

    def __init__(
        self,
        rankings: Mapping[str, Ranking],
        layers: Sequence[str] | None = None,
        num_channels: Iterable[int] = (),
        window: int = 0,
        num_random: int = 0,
        num_matched: int = 0,
        activation: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.rankings = dict(rankings)
        totals = {name: ranking.num_channels for name, ranking in self.rankings.items()}
        if not totals:
            raise ValueError('a sweep needs at least one ranking; make one with rank_channels or `mmposenc rank`')
        if reserved := totals.keys() & {RANDOM, MATCHED, REVERSED}:
            raise ValueError(f'the name {reserved.pop()!r} is reserved for random orders: rename the ranking')
        if len(set(totals.values())) > 1:
            raise ValueError(f'all rankings must have the same number of channels, got {totals}: sweep them separately')
        self.total = next(iter(totals.values()))
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Sequence) or not layers):
            raise TypeError(f'layers must be a list of names, got {short(layers)}')
        self.layers = list(dict.fromkeys(layers or [ranking.layer for ranking in self.rankings.values()]))
        self.num_channels = sorted(set(whole_numbers('num_channels', num_channels, self.total)))
        self.window = whole_number('window', window, self.total)
        self.num_random = whole_number('num_random', num_random)
        self.num_matched = whole_number('num_matched', num_matched)
        if not self.num_channels and not self.window:
            raise ValueError('nothing to sweep: give num_channels such as 0:2000:100, a window, or both')
        mirrored = any(
            is_reversed(one, other) or ({one.region, other.region} == {'left', 'right'} and opposed(one, other))
            for one, other in combinations(self.rankings.values(), 2)
        )
        orders = len(self.rankings) * (1 + self.num_matched) + self.num_random * (1 + mirrored)
        points = len(self.num_channels) + (self.total // self.window if self.window else 0)
        if (variants := len(self.layers) * orders * points) > MOST_VARIANTS:
            advice = 'fewer num_channels, a larger window, or fewer random orders'
            raise ValueError(f'a sweep holds at most {MOST_VARIANTS:,} variants, got {variants:,}: give {advice}')
        known = {layer: tuple(map(float, values)) for layer, values in (activation or {}).items()}
        self.activation = {layer: known.get(layer, ()) for layer in self.layers} if self.num_matched else {}
        for layer, strength in self.activation.items():
            if len(strength) != self.total:
                need = f'the mean activation of the {self.total} channels of {layer!r}, got {len(strength)} values'
                advice = "add a ranking by 'mean_activation' at the layer, or set num_matched=0"
                raise ValueError(f'matched random orders need {need}: {advice}')
        self.orders: list[SweepOrder] = []
        self.variants: list[SweepVariant] = []
        # The same by curve, (layer, ranking, of, kind), and draw.
        self.points: dict[tuple[str, str, str, str], dict[int | None, list[SweepVariant]]] = {}
        self.num_runs = 1
        for layer in self.layers:
            for name, ranking in self.rankings.items():
                self._add(layer, name, '', None, tuple(ranking.order))
            for draw in range(self.num_random):
                order = random_channels(self.total, self.total, draw)
                self._add(layer, RANDOM, '', draw, order)
                if mirrored:
                    self._add(layer, REVERSED, '', draw, order[::-1])
            for (name, ranking), draw in product(self.rankings.items(), range(self.num_matched)):
                order = matched_random_channels(ranking, self.activation[layer], self.total, draw)
                self._add(layer, MATCHED, name, draw, order)

    def orders_at(self, layer: str) -> list[SweepOrder]:
        """The orders that have runs at a layer."""
        return [order for order in self.orders if order.layer == layer and order.runs]

    def _add(self, layer: str, name: str, of: str, draw: int | None, order: tuple[int, ...]) -> None:
        # A point is (kind, the ranks it is shown at, the ranks that are ablated).
        points = [('top', (0, number), (0, number)) for number in self.num_channels]
        for start in range(0, self.total - self.window + 1, self.window) if self.window else ():
            shown = start, start + self.window
            points.append(('window', shown, shown if draw is None else (0, self.window)))
        runs = {(0, 0): 0}
        for kind, shown, ablated in points:
            if ablated not in runs:
                runs[ablated] = self.num_runs
                self.num_runs += 1
            variant = SweepVariant(layer, name, of, draw, kind, *shown, runs[ablated])
            self.variants.append(variant)
            self.points.setdefault((layer, name, of, kind), {}).setdefault(draw, []).append(variant)
        del runs[0, 0]
        self.orders.append(SweepOrder(layer, order, tuple(runs), tuple(runs.values())))

    def document(self) -> dict[str, Any]:
        """The arguments, as JSON takes them."""
        names = 'layers', 'num_channels', 'window', 'num_random', 'num_matched', 'activation'
        rankings = {name: asdict(ranking) for name, ranking in self.rankings.items()}
        return dict(rankings=rankings, **{name: getattr(self, name) for name in names})

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> 'SweepPlan':
        """The plan that `document` describes."""
        rankings = {name: Ranking(**entry) for name, entry in document['rankings'].items()}
        return cls(**{**document, 'rankings': rankings})


def is_reversed(one: Ranking, other: Ranking) -> bool:
    """Whether a ranking is another one reversed; channels of equal scores stand in channel order in both."""
    return one.order == other.order[::-1] or one.scores == tuple(-score for score in other.scores)


def opposed(one: Ranking, other: Ranking) -> bool:
    """Whether two rankings oppose each other, so that orders and their reverses are what they are compared with."""
    return is_reversed(one, other) or float(spearmanr(one.scores, other.scores).statistic) < 0


def name_rankings(rankings: Ranking | Sequence[Ranking] | Mapping[str, Ranking]) -> dict[str, Ranking]:
    """Rankings by name; those without one are called by their region, or by pair and statistic."""
    given = [rankings] if isinstance(rankings, Ranking) else rankings
    for ranking in given.values() if isinstance(given, Mapping) else given:
        if not isinstance(ranking, Ranking):
            raise TypeError(f'rankings must be a list of Ranking or a dict of name=Ranking, got {short(rankings)}')
    if isinstance(given, Mapping):
        return dict(given)
    named = {_name(ranking): ranking for ranking in given}
    if len(named) < len(given):
        raise ValueError(f'rankings need different names, got {list(map(_name, given))}: give a dict of name=ranking')
    return named


def _name(ranking: Ranking) -> str:
    if ranking.region != 'overall':
        return ranking.region
    return ranking.statistic if ranking.pair == 'none' else f'{ranking.pair}-{ranking.statistic}'


def known_activation(plan: SweepPlan, given: Mapping[str, Sequence[float]] | None = None) -> dict[str, Sequence[float]]:
    """Mean activation by layer, as far as it is given or among the rankings of all images."""
    ranked = {
        ranking.layer: ranking.scores
        for ranking in reversed(plan.rankings.values())
        if (ranking.statistic, ranking.region) == ('mean_activation', 'overall')
        and ranking.pair != 'flip_image_flipped_kernels'  # The first of its pair has other kernels than the network.
    }
    return {layer: values for layer, values in {**ranked, **(given or {})}.items() if layer in plan.layers}


class Metric(Protocol):
    """What a sweep measures. Sums are kept for every image, so that a figure of any set of images follows from them.

    `named_metric` knows it by its `name`, '' for one of your own. `regions` are those that figures are given for,
    ('overall',) if there are none. `harm_of` is the figure whose loss is called harm, '' for the first one; its set of
    classes must not depend on the predictions. A metric that cannot be computed from sums over images also has `pool`,
    which makes what `finish` takes from what `count` gave, (images, runs, ...).
    """

    @property
    def name(self) -> str: ...

    @property
    def regions(self) -> Sequence[str]: ...

    @property
    def harm_of(self) -> str: ...

    def count(self, outputs: Any, targets: Any) -> Tensor:
        """Additive sums of each image, (N, ...), integers where possible."""

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        """Figures in %, (...), by 'figure' or 'region/figure', of added sums (..., *an image's shape), float64."""

    def document(self) -> dict[str, Any]:
        """The arguments that `mmposenc.named_metric` needs to make it again, as JSON takes them."""


class Rates:
    """Shares of images in %, such as ['top1', 'cons8_zero_ref'].

    Sums (..., figures + 1) are the hits and the number of images.
    """

    name = 'rates'
    regions = ('overall',)

    def __init__(self, figures: Sequence[str]) -> None:
        self.figures, self.harm_of = list(figures), figures[0]

    def count(self, outputs: Tensor, targets: Any) -> Tensor:
        """Sums of hits (N, figures); `targets` is not used."""
        return torch.cat([outputs, torch.ones_like(outputs[..., :1])], dim=-1).to(torch.uint8)

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        return {name: 100 * sums[..., i] / sums[..., -1] for i, name in enumerate(self.figures)}

    def document(self) -> dict[str, Any]:
        return dict(figures=self.figures)


class Top1(Rates):
    """Top-1 accuracy of a classifier, from scores (N, classes) and labels (N,) of integers; sums (N, 2)."""

    name = 'top1'

    def __init__(self) -> None:
        super().__init__(['top1'])

    def count(self, outputs: Tensor, targets: Any) -> Tensor:
        labels = torch.as_tensor(targets)
        if outputs.ndim != 2 or outputs.shape[1] < 2 or labels.shape != outputs.shape[:1] or labels.is_floating_point():
            form = 'scores (N, classes) of two or more classes and labels (N,) of integers'
            got = f'{tuple(outputs.shape)} and {labels.dtype} {tuple(labels.shape)}'
            raise ValueError(f'Top-1 needs {form}, got {got}')
        if len(wrong := labels[(labels < 0) | (labels >= outputs.shape[1])]):
            raise ValueError(f'labels must be from 0 to {outputs.shape[1] - 1}, the classes there are, got {wrong[0]}')
        if outputs.isnan().any():
            raise ValueError('the scores must be numbers, got NaN: check the checkpoint')
        return super().count((outputs.argmax(1) == labels.to(outputs.device))[:, None], targets)

    def document(self) -> dict[str, Any]:
        return {}
