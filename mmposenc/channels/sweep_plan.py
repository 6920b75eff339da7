"""Every point of every curve of a sweep, and the runs that have to be computed for them (Fig. 4 and 6)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from operator import index
from typing import Any

from mmposenc.channels.ablation import matched_random_channels, random_channels
from mmposenc.layers import split_layer
from mmposenc.ranking import Ranking, short

RANDOM, MATCHED, REVERSED = 'random', 'matched', 'reversed'
_MOST_VARIANTS = 1_000_000


@dataclass(frozen=True)
class SweepVariant:
    """One point of one curve: some channels of an order are ablated at a layer (Sec. 4.2.2, Fig. 4).

    Args:
        layer: Where the channels are ablated.
        ranking: Name of the ranking, or 'random', 'matched' or 'reversed' (a random order from its end).
        of: For 'matched', the ranking whose strength the draw matches; otherwise ''.
        draw: Number of the draw; None for a ranking.
        kind: 'top' for the N top-ranked channels (Fig. 4 top), 'window' for consecutive ranks (Fig. 4 bottom).
        start: Rank of the first ablated channel.
        stop: Rank behind the last one.
        run: The run of the plan that gives this point; run 0 is the whole network.
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
    """The runs of one order of channels at one layer; they share most of their work.

    Args:
        layer: Where the channels are ablated.
        order: All channels, top-ranked first.
        slices: (start, stop) of the ranks that each run ablates, none of them empty.
        runs: Number of each run.
    """

    layer: str
    order: tuple[int, ...]
    slices: tuple[tuple[int, int], ...]
    runs: tuple[int, ...]


class SweepPlan:
    """All variants of a sweep and the runs that give them (Sec. 4.2.2 and 4.2.3, Fig. 4 and 6).

    Points that need the same forward share one run: N = 0 is run 0 everywhere, and the first window of a ranking is its
    top N of that size. Windows lie side by side from rank 0 on; an incomplete last one is left out. The first window
    of a random order stands for all its windows: they are equally random. Where one ranking is another one reversed,
    the random orders are swept reversed too (see `mmposenc.chance.dissociation`).

    Args:
        rankings: Rankings by name, all with the same number of channels C.
        layers: Where channels are ablated; every ranking is used at each. Default: the layers of the rankings.
        num_channels: The N of the top-N variants, in any order.
        window: Size of the windows; 0 for none.
        num_random: Number of random orders, the control of Fig. 4; draw i has the seed i.
        num_matched: Number of random orders for each ranking that match it in strength: channels are exchanged at
            random within ten bins of mean activation, so that every top N holds as many of each bin as the ranking's.
        activation: Mean activation of the C channels by layer, for `num_matched`.

    Raises:
        ValueError: If there is no ranking or nothing to ablate, rankings differ in C, a name is reserved, a number is
            out of range, or the activation of a layer is missing.
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
        self.total = _common_total(self.rankings)
        self.layers = _checked_layers(layers, self.rankings)
        self.num_channels = sorted(set(_checked_numbers('num_channels', num_channels, self.total)))
        (self.window,) = _checked_numbers('window', [window], self.total)
        (self.num_random,) = _checked_numbers('num_random', [num_random], None)
        (self.num_matched,) = _checked_numbers('num_matched', [num_matched], None)
        if not self.num_channels and not self.window:
            raise ValueError('nothing to sweep: give num_channels such as 0:2000:100, a window, or both')
        self.activation = _checked_activation(activation or {}, self.layers, self.total, self.num_matched)
        windows = self.total // self.window if self.window else 0
        mirrored = any(a.order == b.order[::-1] for a, b in combinations(self.rankings.values(), 2))
        orders = len(self.rankings) * (1 + self.num_matched) + self.num_random * (1 + mirrored)
        variants = len(self.layers) * orders * (len(self.num_channels) + windows)
        if variants > _MOST_VARIANTS:
            raise ValueError(
                f'a sweep holds at most {_MOST_VARIANTS} variants, got {short(variants)}: give fewer num_channels, a '
                'larger window, or fewer random orders'
            )
        self.orders: list[SweepOrder] = []
        self.variants: list[SweepVariant] = []
        self.num_runs = 1
        for layer in self.layers:
            for name, ranking in self.rankings.items():
                self._add(layer, name, '', None, tuple(ranking.order))
            for draw in range(self.num_random):
                order = random_channels(self.total, self.total, draw)
                self._add(layer, RANDOM, '', draw, order)
                if mirrored:
                    self._add(layer, REVERSED, '', draw, order[::-1])
            for name, ranking in self.rankings.items():
                for draw in range(self.num_matched):
                    order = matched_random_channels(ranking, self.activation[layer], self.total, draw)
                    self._add(layer, MATCHED, name, draw, order)

    def orders_at(self, layers: Iterable[str]) -> list[SweepOrder]:
        """The orders that have runs at these layers."""
        chosen = set(layers)
        return [order for order in self.orders if order.layer in chosen and order.runs]

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
            self.variants.append(SweepVariant(layer, name, of, draw, kind, *shown, runs[ablated]))
        del runs[0, 0]
        self.orders.append(SweepOrder(layer, order, tuple(runs), tuple(runs.values())))

    def document(self) -> dict[str, Any]:
        """What `from_document` rebuilds the plan from, as JSON takes it."""
        return dict(
            rankings={name: asdict(ranking) for name, ranking in self.rankings.items()},
            layers=self.layers,
            num_channels=self.num_channels,
            window=self.window,
            num_random=self.num_random,
            num_matched=self.num_matched,
            activation={layer: list(values) for layer, values in self.activation.items()},
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> 'SweepPlan':
        """The plan that `document` describes."""
        rankings = {name: Ranking(**entry) for name, entry in document['rankings'].items()}
        return cls(**{**document, 'rankings': rankings})


def name_rankings(rankings: Ranking | Sequence[Ranking] | Mapping[str, Ranking]) -> dict[str, Ranking]:
    """Rankings by name; those without one are called by their region, or by pair and statistic.

    Raises:
        TypeError, ValueError: If they are not rankings, or two would have one name.
    """
    if isinstance(rankings, Ranking):
        rankings = [rankings]
    if not isinstance(rankings, Mapping):
        if isinstance(rankings, str) or not isinstance(rankings, Sequence):
            raise TypeError(f'rankings must be a list of Ranking or a dict of name=Ranking, got {short(rankings)}')
        named = {_name(ranking): ranking for ranking in rankings}
        if len(named) < len(rankings):
            raise ValueError(
                f'rankings need different names, got {[_name(ranking) for ranking in rankings]}: give a dict of '
                'name=ranking'
            )
        rankings = named
    for name, ranking in rankings.items():
        if not isinstance(ranking, Ranking):
            raise TypeError(f'rankings must be of type Ranking, got {type(ranking).__name__} for {short(name)}')
    return dict(rankings)


def _name(ranking: Ranking) -> str:
    if not isinstance(ranking, Ranking):
        raise TypeError(f'rankings must be of type Ranking, got {type(ranking).__name__}')
    if ranking.region != 'overall':
        return ranking.region
    return ranking.statistic if ranking.pair == 'none' else f'{ranking.pair}-{ranking.statistic}'


def _checked_layers(layers: Sequence[str] | None, rankings: Mapping[str, Ranking]) -> list[str]:
    if layers is None:
        return list(dict.fromkeys(ranking.layer for ranking in rankings.values()))
    if isinstance(layers, str):
        raise TypeError(f'layers must be a list of names, got the str {short(layers)}: write a list')
    if not isinstance(layers, Sequence) or not all(isinstance(layer, str) for layer in layers):
        raise TypeError(f'layers must be a list of names, got {short(layers)}')
    if not layers or len(set(layers)) != len(layers):
        raise ValueError(f'layers must name one or more layers, each once, got {short(list(layers))}')
    for layer in layers:
        split_layer(layer)
    return list(layers)


def _common_total(rankings: Mapping[str, Ranking]) -> int:
    if not rankings:
        raise ValueError('a sweep needs at least one ranking; make one with rank_channels or `mmposenc rank`')
    for name in (RANDOM, MATCHED, REVERSED):
        if name in rankings:
            raise ValueError(f'the name {name!r} is reserved for random orders: rename the ranking')
    totals = {name: ranking.num_channels for name, ranking in rankings.items()}
    if len(set(totals.values())) > 1:
        raise ValueError(f'all rankings must have the same number of channels, got {totals}: sweep them separately')
    return next(iter(totals.values()))


def _checked_activation(
    activation: Mapping[str, Sequence[float]], layers: Sequence[str], total: int, num_matched: int
) -> dict[str, tuple[float, ...]]:
    if not num_matched:
        return {}
    checked = {layer: tuple(map(float, activation.get(layer, ()))) for layer in layers}
    for layer, values in checked.items():
        if len(values) != total:
            raise ValueError(
                f'matched random orders need the mean activation of the {total} channels of {layer!r}, got '
                f"{len(values)} values: add a ranking with statistic 'mean_activation', or set num_matched=0"
            )
    return checked


def _checked_numbers(name: str, numbers: Iterable[int], largest: int | None) -> list[int]:
    if isinstance(numbers, (str, bytes)) or not isinstance(numbers, Iterable):
        raise TypeError(f'{name} must be a list of integers, got {short(numbers)}')
    checked = []
    for number in numbers:
        try:
            if isinstance(number, bool):
                raise TypeError
            checked.append(index(number))
        except TypeError:
            raise TypeError(f'{name} must be integers, got {type(number).__name__} {short(number)}') from None
        if checked[-1] < 0 or (largest is not None and checked[-1] > largest):
            allowed = '0 or more' if largest is None else f'from 0 to {largest}, the channels that the rankings have'
            raise ValueError(f'{name} must be {allowed}, got {short(checked[-1])}')
    return checked
