"""Image data sets that live in memory, where a batch is one gather."""

from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmposenc.registry import FUNCTIONS


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

    Raises:
        TypeError, ValueError: If types or shapes do not match, a label is out of range, or the subset is impossible.

    Example:
        >>> data = InMemoryImages(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), ['a', 'b'])
        >>> data[1]['labels']
        tensor(1)
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        classes: Sequence[str],
        indices: int | Sequence[int] | None = None,
        fraction: float | None = None,
    ) -> None:
        if images.dtype != torch.uint8 or labels.dtype != torch.int64:
            raise TypeError(f'images must be uint8 and labels int64, got {images.dtype} and {labels.dtype}')
        if images.ndim != 4 or images.shape[1] != 3 or labels.shape != images.shape[:1] or not len(labels):
            raise ValueError(
                'images must be (N, 3, H, W) and labels (N,), N at least 1; '
                f'got images {tuple(images.shape)} and labels {tuple(labels.shape)}'
            )
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(classes):
            raise ValueError(
                f'labels must lie in 0 to {len(classes) - 1} ({len(classes)} classes), got values from {low} to {high}'
            )
        positions = subset_positions(len(labels), indices, fraction)
        self.images = images if positions is None else images[positions]
        self.labels = labels if positions is None else labels[positions]
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
    """Collate function for data sets that make whole batches: returns the batch as it is.

    Example:
        >>> dataloader = dict(num_workers=0, collate_fn=dict(type='mmposenc.pass_batch'))
    """
    if not isinstance(batch, dict):
        raise TypeError(
            f'pass_batch expects the dict that a data set with __getitems__ makes, got {type(batch).__name__}: '
            "this data set (or a wrapper around it) gives single samples; use collate_fn=dict(type='default_collate')"
        )
    return batch


def subset_positions(
    num_samples: int, indices: int | Sequence[int] | None = None, fraction: float | None = None
) -> Tensor | None:
    """Positions of the samples to keep, at least one, int64; None means all. The arguments are `InMemoryImages`'s."""
    if indices is not None and fraction is not None:
        raise ValueError(f'give either indices or fraction, not both; got indices={indices} and fraction={fraction}')
    if fraction is not None:
        if isinstance(fraction, bool) or not isinstance(fraction, Real) or not 0 < fraction <= 1:
            raise ValueError(f'fraction must be a number in (0, 1], got {fraction!r}')
        kept = max(1, int(num_samples * float(fraction) + 0.5))
        return torch.arange(kept) * num_samples // kept
    if indices is None:
        return None
    if isinstance(indices, Integral) and not isinstance(indices, bool):
        if not 1 <= int(indices) <= num_samples:
            raise ValueError(f'indices={indices} asks for the first {indices} of {num_samples} samples')
        return torch.arange(int(indices))
    try:
        positions = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError):
        positions = torch.empty(1)
    integers = (torch.int64, torch.int32, torch.int16, torch.uint8)
    if positions.ndim != 1 or (len(positions) and positions.dtype not in integers):
        raise TypeError(f'indices must be an integer or a sequence of integers, got {indices!r:.200}')
    if not len(positions):
        raise ValueError('indices is empty; give at least one position, or None for the whole split')
    outside = positions[(positions < 0) | (positions >= num_samples)]
    if len(outside):
        raise ValueError(f'indices holds {int(outside[0])}; allowed are 0 to {num_samples - 1}')
    return positions.long()
