"""Every point of every curve of a sweep, and what has to be computed for them (Fig. 4 and 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmposenc.channels.channel_choice import random_ranking
from mmposenc.layers import split_layer
from mmposenc.ranking import Ranking, short

RANDOM = 'random'
_MOST_VARIANTS = 1_000_000


@dataclass(frozen=True)
class SweepVariant:
    """One point of one curve: a slice of a channel order is off at a layer (Sec. 4.2.2, Fig. 4).

    Args:
        layer: Where the channels are off.
        ranking: Name of the ranking, or 'random'.
        draw: Number of the random draw; None for a ranking.
        kind: 'top' for the N best channels (Fig. 4 top), 'window' for channels of consecutive ranks (Fig. 4 bottom).
        start: Rank of the first channel that is off.
        stop: Rank behind the last one.
        run: Number of the run in `SweepPlan` that gives this point.
    """

    layer: str
    ranking: str
    draw: int | None
    kind: str
    start: int
    stop: int
    run: int


@dataclass(frozen=True)
class SweepGroup:
    """The runs of one channel order at one layer, which share most of their work (ours).

    Args:
        layer: Where the channels are off.
        order: All channels, best first.
        slices: (start, stop) of the ranks that are off in each run, none of them empty.
        runs: Number of each run.
    """

    layer: str
    order: tuple[int, ...]
    slices: list[tuple[int, int]] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)


class SweepPlan:
    """All variants of a sweep and the runs that give them (Sec. 4.2.2-4.2.3, Fig. 4 and 6).

    Points that need the same forward share one run: N = 0 is run 0 for every ranking and layer, and the first window
    of a ranking is its top N of that size. Windows lie side by side from rank 0 on; one that would not be whole is left
    out, and random draws have none, as a window of a random order is one more draw.

    Args:
        rankings: Rankings by name; all of the same number of channels C.
        layers: Where channels are switched off; every ranking is used at each.
        num_channels: The N of the top-N variants, in any order.
        window: Size of the windows; 0 for none.
        num_random: Number of random draws, the control of Fig. 4; draw i has the seed i.

    Raises:
        ValueError: If there is no ranking or nothing to switch off, rankings differ in C, a name is taken, or a number
            is out of range.
    """

    def __init__(
        self,
        rankings: Mapping[str, Ranking],
        layers: Sequence[str],
        num_channels: Sequence[int] = (),
        window: int = 0,
        num_random: int = 0,
    ) -> None:
        self.rankings = dict(rankings)
        self.layers = _checked_layers(layers)
        self.total = _common_total(self.rankings, num_random)
        self.num_channels = sorted(set(_checked_numbers('num_channels', num_channels, self.total)))
        (self.window,) = _checked_numbers('window', [window], self.total)
        (self.num_random,) = _checked_numbers('num_random', [num_random], None)
        if not self.num_channels and not self.window:
            raise ValueError('nothing to sweep: give num_channels such as 0:2000:100, a window, or both')
        windows = self.total // self.window if self.window else 0
        ranked = len(self.rankings) * (len(self.num_channels) + windows)
        variants = len(self.layers) * (ranked + self.num_random * len(self.num_channels))
        if variants > _MOST_VARIANTS:
            raise ValueError(
                f'a sweep holds at most {_MOST_VARIANTS} variants, got {short(variants)}: '
                'give fewer num_channels, a larger window, or a smaller num_random'
            )
        self.groups: list[SweepGroup] = []
        self.variants: list[SweepVariant] = []
        self.num_runs = 1
        for layer in self.layers:
            for name, ranking in self.rankings.items():
                self._add(layer, name, None, tuple(ranking.order))
            for draw in range(self.num_random if self.num_channels else 0):
                self._add(layer, RANDOM, draw, tuple(random_ranking(self.total, draw, layer).order))

    def groups_at(self, layers: Sequence[str]) -> list[SweepGroup]:
        """The groups of some of the layers."""
        return [group for group in self.groups if group.layer in layers]

    def _add(self, layer: str, name: str, draw: int | None, order: tuple[int, ...]) -> None:
        group = SweepGroup(layer, order)
        points = [('top', 0, number) for number in self.num_channels]
        if self.window and draw is None:
            starts = range(0, self.total - self.window + 1, self.window)
            points += [('window', start, start + self.window) for start in starts]
        numbers = {(0, 0): 0}
        for kind, start, stop in points:
            if (start, stop) not in numbers:
                numbers[start, stop] = self.num_runs
                group.slices.append((start, stop))
                group.runs.append(self.num_runs)
                self.num_runs += 1
            self.variants.append(SweepVariant(layer, name, draw, kind, start, stop, numbers[start, stop]))
        self.groups.append(group)


def _checked_layers(layers: Sequence[str]) -> list[str]:
    if isinstance(layers, str):
        raise TypeError(f'layers must be a list of names, got the str {short(layers)}: write a list')
    if not isinstance(layers, Sequence) or not all(isinstance(layer, str) for layer in layers):
        raise TypeError(f'layers must be a list of names, got {short(layers)}')
    if not layers or len(set(layers)) != len(layers):
        raise ValueError(f'layers must name one or more layers, each once, got {short(list(layers))}')
    for layer in layers:
        split_layer(layer)
    return list(layers)


def _common_total(rankings: Mapping[str, Ranking], num_random: int) -> int:
    if not rankings:
        raise ValueError('a sweep needs at least one ranking; make one with tools/rank_channels.py')
    if num_random and RANDOM in rankings:
        raise ValueError(f'the name {RANDOM!r} is that of the random draws: rename the ranking, or ask for no draws')
    totals = {name: ranking.num_channels for name, ranking in rankings.items()}
    if len(set(totals.values())) > 1:
        raise ValueError(f'all rankings must have the same number of channels, got {totals}: sweep them apart')
    return next(iter(totals.values()))


def _checked_numbers(name: str, numbers: Sequence[int], largest: int | None) -> list[int]:
    if not isinstance(numbers, Sequence) or isinstance(numbers, str):
        raise TypeError(f'{name} must be a list of integers, got {short(numbers)}')
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f'{name} must be integers, got {type(number).__name__} {short(number)}')
        if number < 0 or (largest is not None and number > largest):
            allowed = '0 or more' if largest is None else f'from 0 to {largest}, the channels that the rankings have'
            raise ValueError(f'{name} must be {allowed}, got {short(number)}')
    return list(numbers)
