"""What a convolution makes of a map that holds the same vector everywhere (ours)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def convolve_constant(vectors: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
    """Convolve zero-padded maps that are constant over their pixels, at the cost of a few pixels (ours).

    Away from the border all pixels of the result are equal, so that a map of k pixels a side holds every different
    one: for a 3x3 kernel four corners, four edges and the inside.

    Args:
        vectors: What each map holds at all its pixels, (N, C).
        weight: Kernels (K, C, k, k) with odd k; stride 1, and a padding of k // 2.
        size: Height and width of the maps, px.

    Returns:
        (N, K, h, w) with h and w at most k: what `add_borders` spreads over the whole map.
    """
    kernel = weight.shape[-1]
    height, width = (min(side, kernel) for side in size)
    maps = vectors[:, :, None, None].expand(-1, -1, height, width)
    return functional.conv2d(maps, weight, padding=kernel // 2)


def add_borders(maps: Tensor, small: Tensor) -> Tensor:
    """Add what `convolve_constant` gave to maps of full size (ours).

    Shape:
        maps (1 or N, K, H, W), small (N, K, h, w); output (N, K, H, W) in the type of `maps`.
    """
    total = maps.new_empty((len(small), *maps.shape[1:]))
    small = small.to(maps.dtype)
    for rows, small_rows in _segments(maps.shape[-2], small.shape[-2]):
        for columns, small_columns in _segments(maps.shape[-1], small.shape[-1]):
            part = small[..., small_rows, small_columns]
            torch.add(maps[..., rows, columns], part, out=total[..., rows, columns])
    return total


def _segments(size: int, small: int) -> list[tuple[slice, slice]]:
    """Where the beginning, middle and end of an axis lie in the full map and in the small one."""
    if size == small:
        return [(slice(0, size), slice(0, small))]
    edge = small // 2
    return [
        (slice(0, edge), slice(0, edge)),
        (slice(edge, size - edge), slice(edge, edge + 1)),
        (slice(size - edge, size), slice(edge + 1, small)),
    ]
