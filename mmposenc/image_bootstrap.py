"""Data sets drawn again from the images of one, for intervals over images (ours)."""

from collections.abc import Iterator

import torch
from torch import Tensor

_AT_ONCE = 100


def resampled_sums(images: Tensor, num_resamples: int, seed: int) -> Iterator[Tensor]:
    """Counts of data sets whose images are drawn with return, as many as there are (ours).

    Args:
        images: Counts of each image, float64 (images, ...).
        num_resamples: Data sets drawn.
        seed: Seed of the draws.

    Yields:
        Their sums, some data sets at a time, (data sets, ...).

    Raises:
        ValueError: If there is no image, or nothing is to be drawn.
    """
    if not len(images) or num_resamples < 1:
        raise ValueError(f'num_resamples and images must be at least 1, got {num_resamples} and {len(images)}')
    generator = torch.Generator().manual_seed(seed)
    for first in range(0, num_resamples, _AT_ONCE):
        number = min(_AT_ONCE, num_resamples - first)
        drawn = torch.randint(len(images), (number, len(images)), generator=generator)
        times = torch.zeros(number, len(images), dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
        yield (times @ images.flatten(1)).view(number, *images.shape[1:])


def interval(drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Ends of the 95% interval of each column: the 2.5th and 97.5th percentiles of (data sets, columns) (ours)."""
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return low, high
