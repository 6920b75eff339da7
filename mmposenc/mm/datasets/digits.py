"""Handwritten digits without a download."""

from collections.abc import Sequence
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from mmposenc.mm.datasets.in_memory import InMemoryImages
from mmposenc.registry import DATASETS

__all__ = ['Digits']

_CANVAS = 32
_SCALE = 2
_TEST_EVERY = 5


@DATASETS.register_module()
class Digits(InMemoryImages):
    """The 1,797 handwritten digits that ship with scikit-learn, on a 32 x 32 canvas; data for the offline demo.

    Each 8 x 8 digit is enlarged to 16 x 16 by repeating pixels, its 17 grey levels are scaled to 0 to 255 in three
    equal channels, and it is centred on black: a shift of up to 8 px (Cons.8) loses nothing of it. Every fifth sample
    of each class is a test sample, so both splits have the same shares of the classes and never change. The same
    people wrote both splits: this is a demonstration, not a benchmark. See `InMemoryImages` for what a batch is.

    Args:
        split: 'train' (1,442 images) or 'test' (355).
        indices: Keep the first n samples (an integer) or the samples at these positions (a sequence). Default: all.
        fraction: Keep this share of the samples, evenly spaced, in (0, 1]. Default: all.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If the split is unknown or the subset is impossible.

    Example:
        >>> dataset = dict(type='mmposenc.Digits', split='test')
    """

    def __init__(
        self, split: str = 'train', indices: int | Sequence[int] | None = None, fraction: float | None = None
    ) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split must be one of ['train', 'test'], got {split!r}")
        try:
            bunch = import_module('sklearn.datasets').load_digits()
        except ImportError as error:
            raise ImportError("Digits come with scikit-learn: pip install 'mmposenc[demo]'") from error
        labels = torch.from_numpy(bunch.target.astype(np.int64))
        chosen = _is_test(labels) == (split == 'test')
        images = _on_canvas(torch.from_numpy(bunch.images)[chosen])
        super().__init__(images, labels[chosen], [str(digit) for digit in range(10)], indices, fraction)


def _on_canvas(levels: Tensor) -> Tensor:
    """(N, 8, 8) levels 0 to 16 become (N, 3, 32, 32) bytes."""
    grey = (levels * 255 / 16).round().to(torch.uint8)
    large = grey.repeat_interleave(_SCALE, 1).repeat_interleave(_SCALE, 2)
    margin = (_CANVAS - large.shape[-1]) // 2
    images = torch.zeros(len(large), 3, _CANVAS, _CANVAS, dtype=torch.uint8)
    images[:, :, margin:-margin, margin:-margin] = large[:, None]
    return images


def _is_test(labels: Tensor) -> Tensor:
    """Mark the 5th, 10th, 15th, ... sample of each class."""
    nth_of_class = torch.nn.functional.one_hot(labels).cumsum(0).gather(1, labels[:, None]).squeeze(1)
    return nth_of_class % _TEST_EVERY == 0
