"""Image data sets that live in memory, where a batch is one gather, and handwritten digits, which need no download."""

from collections.abc import Sequence
from importlib import import_module
from numbers import Integral, Real

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from mmposenc.registry import DATASETS, FUNCTIONS


class InMemoryImages(Dataset):
    """Small labelled images held as one uint8 tensor.

    A batch is one indexing of the tensor: inputs (B, 3, H, W) uint8, labels (B,) int64, and indices (B,) int64, the
    positions in this data set. Use it with `num_workers=0` and `collate_fn=dict(type='mmposenc.pass_batch')`; crop,
    flip and normalise on the device. `dataset[i]` gives one sample, for loaders that collate themselves.

    Args:
        images: All images of the split, RGB, (N, 3, H, W), uint8.
        labels: Their categories, each in [0, len(classes)), (N,), int64.
        classes: Names of the categories, in label order.
        indices: Keep the first n samples (an integer) or the samples at these positions (a sequence). Default: all.
        fraction: Keep this share of the samples, evenly spaced, in (0, 1]. Default: all.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        classes: Sequence[str],
        indices: int | Sequence[int] | None = None,
        fraction: float | None = None,
    ) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or labels.dtype != torch.int64 or len(labels) != len(images):
            got = ' and '.join(f'{each.dtype} {tuple(each.shape)}' for each in (images, labels))
            raise ValueError(f'images must be uint8 (N, 3, H, W) and labels int64 (N,), got {got}')
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(classes):
            raise ValueError(f'labels must lie in 0 to {len(classes) - 1}, got values from {low} to {high}')
        positions = subset_positions(len(labels), indices, fraction)
        self.images, self.labels = images[positions], labels[positions]
        self.metainfo = {'classes': tuple(classes)}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One sample; its image is a copy."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'index {index} is out of range; the data set holds {len(self)} samples')
        batch = self.__getitems__([int(index) % len(self)])
        return {key: value[0] if isinstance(value, Tensor) else value for key, value in batch.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A whole batch."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        return {'inputs': self.images[positions], 'labels': self.labels[positions], 'indices': positions}


@FUNCTIONS.register_module()
def pass_batch(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Collate function for data sets that make whole batches: returns the batch as it is."""
    if not isinstance(batch, dict):
        advice = "the data set gives single samples; use collate_fn=dict(type='default_collate')"
        raise TypeError(f'pass_batch takes the dict of a whole batch, got {type(batch).__name__}: {advice}')
    return batch


def subset_positions(
    num_samples: int, indices: int | Sequence[int] | None = None, fraction: float | None = None
) -> Tensor | slice:
    """Positions of the samples to keep, at least one. The arguments are `InMemoryImages`'s."""
    if indices is not None and fraction is not None:
        raise ValueError(f'give either indices or fraction, not both; got indices={indices} and fraction={fraction}')
    if fraction is not None:
        if isinstance(fraction, bool) or not isinstance(fraction, Real) or not 0 < fraction <= 1:
            raise ValueError(f'fraction must be a number in (0, 1], got {fraction!r}')
        kept = max(1, int(num_samples * float(fraction) + 0.5))
        return torch.arange(kept) * num_samples // kept
    if indices is None:
        return slice(None)
    positions = np.arange(min(int(indices), num_samples + 1)) if isinstance(indices, Integral) else np.asarray(indices)
    if isinstance(indices, bool) or positions.ndim != 1 or (len(positions) and positions.dtype.kind not in 'iu'):
        raise TypeError(f'indices must be an integer or a sequence of integers, got {indices!r:.200}')
    if not len(positions) or positions.min() < 0 or positions.max() >= num_samples:
        some = f'a number from 1 to {num_samples}, or positions from 0 to {num_samples - 1}'
        raise ValueError(f'indices must be {some}, got {indices!r:.200}')
    return torch.from_numpy(positions.astype(np.int64))


@DATASETS.register_module()
class Digits(InMemoryImages):
    """The 1,797 handwritten digits that ship with scikit-learn, on a 32 x 32 canvas; data for the offline demo.

    Each 8 x 8 digit is enlarged to 16 x 16 by repeating pixels, scaled from 17 grey levels to 0 to 255, and centred on
    black: a shift of up to 8 px (Cons.8) loses nothing of it. Every fifth sample of each class is a test sample ('test'
    has 355, 'train' 1,442). The same people wrote both splits: this is a demonstration, not a benchmark.

    `indices` and `fraction` are as in `InMemoryImages`, which also says what a batch is.
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
