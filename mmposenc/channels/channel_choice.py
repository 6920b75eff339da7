"""Which channels to switch off: the top of a ranking, a window of it, or a random draw (Sec. 4.2.2, Fig. 4)."""

from collections.abc import Sequence
from operator import index

import torch

from mmposenc.ranking import Ranking, scores_of_order


def top_channels(ranking: Ranking, num_channels: int) -> tuple[int, ...]:
    """The N channels of the highest scores, best first (Sec. 4.2.2, Fig. 4 top)."""
    return window(ranking, 0, num_channels)


def window(ranking: Ranking, start: int, size: int) -> tuple[int, ...]:
    """The channels of the ranks start to start + size - 1, rank 0 being the best (Sec. 4.2.2, Fig. 4 bottom)."""
    _check_range('start', start, ranking.num_channels)
    _check_range('size' if start else 'num_channels', size, ranking.num_channels - start)
    return tuple(ranking.order[start : start + size])


def random_channels(num_total: int, num_channels: int, seed: int) -> tuple[int, ...]:
    """N channels drawn at random without return, the control of Fig. 4 (Sec. 4.2.2).

    The draws of one seed are nested: a smaller N gives the beginning of a larger one.

    Args:
        num_total: C, the channels to draw from.
        num_channels: N.
        seed: The same seed gives the same channels.
    """
    _check_range('num_channels', num_channels, num_total)
    shuffled = torch.randperm(num_total, generator=torch.Generator().manual_seed(seed))
    return tuple(shuffled[:num_channels].tolist())


def random_ranking(num_total: int, seed: int, layer: str) -> Ranking:
    """A ranking whose top N are `random_channels(num_total, N, seed)` (Sec. 4.2.2, Fig. 4's control)."""
    order = random_channels(num_total, num_total, seed)
    scores = scores_of_order(order)
    return Ranking(
        layer=layer, statistic='random', pair='none', scores=scores, num_images=0, order=order, data_set=f'seed {seed}'
    )


def check_channels(channels: Sequence[int]) -> tuple[int, ...]:
    """The channels as integers, refused if one is negative or repeated (ours)."""
    try:
        chosen = tuple(index(channel) for channel in channels)
    except TypeError:
        raise TypeError(f'channels must be a list of integers, got {channels!r}') from None
    if negative := [channel for channel in chosen if channel < 0]:
        raise ValueError(f'channels must be 0 or more, got {negative[0]}')
    if len(set(chosen)) != len(chosen):
        repeated = next(channel for channel in chosen if chosen.count(channel) > 1)
        raise ValueError(f'channels must hold each channel once, but {repeated} is repeated')
    return chosen


def _check_range(name: str, value: int, largest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'{name} must be an integer, got {type(value).__name__} {value!r}')
    if not 0 <= value <= largest:
        raise ValueError(f'{name} must be from 0 to {largest}, the channels there are, got {value}')
