"""Chooses the samples of a quick run."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ['subset_positions']


def subset_positions(
    num_samples: int, indices: int | Sequence[int] | None = None, fraction: float | None = None
) -> Tensor | None:
    """Positions of the samples to keep (ours: a full run is Sec. 4.1's).

    Args:
        num_samples: Size of the whole split.
        indices: The first n samples if an integer, otherwise the positions to keep, in the order given.
        fraction: Share of the split in (0, 1]; samples are taken at even spacing and keep their order. At least one
            sample is kept.

    Shape:
        Output (n,), int64; None means all samples.

    Raises:
        ValueError: If both are given, nothing would be kept, or a value is out of range.
        TypeError: If `indices` is neither an integer nor integers.

    Example:
        >>> subset_positions(10, fraction=0.5)
        tensor([0, 2, 4, 6, 8])
    """
    if indices is not None and fraction is not None:
        raise ValueError(f'give either indices or fraction, not both; got indices={indices} and fraction={fraction}')
    if fraction is not None:
        return _evenly_spaced(num_samples, fraction)
    if indices is None:
        return None
    if isinstance(indices, bool):
        raise _wrong_type(indices)
    if isinstance(indices, int):
        if not 1 <= indices <= num_samples:
            raise ValueError(
                f'indices={indices} asks for the first {indices} samples; allowed are 1 to {num_samples}, '
                'the size of the split'
            )
        return torch.arange(indices)
    return _listed(num_samples, indices)


def _evenly_spaced(num_samples: int, fraction: float) -> Tensor:
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise ValueError(f'fraction must be a number in (0, 1], got {fraction!r}')
    kept = max(1, math.floor(num_samples * fraction + 0.5))
    return torch.arange(kept) * num_samples // kept


def _listed(num_samples: int, indices: Sequence[int]) -> Tensor:
    try:
        positions = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _wrong_type(indices) from error
    if positions.numel() == 0:
        raise ValueError('indices is empty; give at least one position, or None for the whole split')
    if positions.ndim != 1 or positions.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8):
        raise _wrong_type(indices)
    low, high = int(positions.min()), int(positions.max())
    if low < 0 or high >= num_samples:
        outside = low if low < 0 else high
        raise ValueError(f'indices holds {outside}; allowed are 0 to {num_samples - 1}, the positions of the split')
    return positions.long()


def _wrong_type(indices: object) -> TypeError:
    return TypeError(f'indices must be an integer or a sequence of integers, got {indices!r:.200}')
