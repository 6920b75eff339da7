"""Handwritten digits without a download."""

from collections.abc import Sequence
from importlib import import_module

import numpy as np
import torch
import torch.nn.functional as F

from mmposenc.mm.datasets.in_memory import InMemoryImages
from mmposenc.registry import DATASETS


@DATASETS.register_module()
class Digits(InMemoryImages):
    """The 1,797 handwritten digits that ship with scikit-learn, on a 32 x 32 canvas; data for the offline demo.

    Each 8 x 8 digit is enlarged to 16 x 16 by repeating pixels, its 17 grey levels are scaled to 0 to 255 in three
    equal channels, and it is centred on black: a shift of up to 8 px (Cons.8) loses nothing of it. Every fifth sample
    of each class is a test sample. The same people wrote both splits: this is a demonstration, not a benchmark.

    Args:
        split: 'train' (1,442 images) or 'test' (355).
        indices, fraction: As in `InMemoryImages`, which also says what a batch is.
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
        nth_of_class = F.one_hot(labels).cumsum(0).gather(1, labels[:, None]).squeeze(1)
        chosen = (nth_of_class % 5 == 0) == (split == 'test')
        grey = (torch.from_numpy(bunch.images)[chosen] * 255 / 16).round().to(torch.uint8)  # from levels 0 to 16
        large = grey.repeat_interleave(2, 1).repeat_interleave(2, 2)
        images = F.pad(large, (8,) * 4)[:, None].repeat(1, 3, 1, 1)
        super().__init__(images, labels[chosen], [str(digit) for digit in range(10)], indices, fraction)
