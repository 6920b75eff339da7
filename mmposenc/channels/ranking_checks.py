"""What makes a ranking whole (ours)."""

import math
from collections.abc import Sequence


def check_scores(scores: object) -> tuple[float, ...]:
    """The scores as floats, refused unless all are finite numbers (ours)."""
    if not isinstance(scores, (list, tuple)) or not scores:
        raise ValueError(f'scores must be a list of C numbers, got {short(scores)}')
    for channel, score in enumerate(scores):
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not _is_finite(score):
            raise ValueError(f'scores must be finite numbers, got {short(score)} for channel {channel}')
    return tuple(float(score) for score in scores)


def check_permutation(order: object, name: str = 'order') -> tuple[int, ...]:
    """The order as integers, refused unless it names each channel from 0 once (ours)."""
    if not isinstance(order, (list, tuple)) or not order:
        raise ValueError(f'{name} must be a list of channels, got {short(order)}')
    seen: set[int] = set()
    for rank, channel in enumerate(order):
        if type(channel) is not int or not 0 <= channel < len(order):
            raise ValueError(
                f'{name} must hold each channel from 0 to {len(order) - 1} once, got {short(channel)} at rank {rank}'
            )
        if channel in seen:
            raise ValueError(f'{name} must hold each channel once, but channel {channel} is repeated at rank {rank}')
        seen.add(channel)
    return tuple(order)


def check_descending(scores: Sequence[float], order: Sequence[int]) -> None:
    """Refuse an order that does not put high scores first (ours)."""
    for rank in range(1, len(order)):
        worse, better = order[rank], order[rank - 1]
        if scores[worse] > scores[better]:
            raise ValueError(
                f'order must put high scores first, but channel {worse} at rank {rank} scores {scores[worse]} '
                f'and channel {better} before it {scores[better]}'
            )


def scores_of_order(order: Sequence[int]) -> tuple[float, ...]:
    """Scores C - rank in channel order, for an order that comes without scores (ours)."""
    ranks = {channel: rank for rank, channel in enumerate(order)}
    return tuple(float(len(order) - ranks[channel]) for channel in range(len(order)))


def short(value: object, limit: int = 60) -> str:
    """A value as it appears in an error message, cut to a readable length (ours)."""
    if isinstance(value, int) and abs(value) > 10**limit:
        return f'an integer of {value.bit_length()} bits'
    text = repr(value[:limit]) if isinstance(value, (str, list, tuple)) else repr(value)
    return text if len(text) <= limit else f'{text[:limit]}...'


def _is_finite(score: float) -> bool:
    try:
        return math.isfinite(score)
    except OverflowError:
        return False
