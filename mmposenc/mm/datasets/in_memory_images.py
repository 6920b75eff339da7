"""A labelled image split that lives in memory, where a batch is one gather."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmposenc.mm.datasets.subset_positions import subset_positions

__all__ = ['InMemoryImages']


class InMemoryImages(Dataset):
    """Small images held as one tensor (ours: the data side of Sec. 3 and 4.1).

    The data loader asks `__getitems__` for a whole batch, which is one indexing of one uint8 tensor: no object is made
    per sample. Use it with `num_workers=0` and `collate_fn=dict(type='mmposenc.pass_batch')`; crop, flip and
    normalisation follow on the device. `ds[i]` gives one sample, for loaders that collate themselves.

    Args:
        images: All images of the split, RGB.
        labels: Their categories, each in [0, len(classes)).
        classes: Names of the categories, in label order.
        indices: Keep the first n samples (an integer) or these positions (a sequence). Default: all.
        fraction: Keep this share, evenly spaced, in (0, 1]. Default: all.

    Shape:
        images (N, 3, H, W), uint8; labels (N,), int64.
        A batch: inputs (B, 3, H, W) uint8, labels (B,) int64, indices (B,) int64, positions in this data set.

    Raises:
        ValueError: If shapes do not fit each other, a label is out of range, or the subset is impossible.
        TypeError: If images or labels have another data type.

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
        if images.ndim != 4 or images.shape[1] != 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                'images must be (N, 3, H, W) and labels (N,), '
                f'got images {tuple(images.shape)} and labels {tuple(labels.shape)}'
            )
        if len(labels) == 0:
            raise ValueError('images is empty; a data set needs at least one image')
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
        """One sample, its image a copy of its own."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'index {index} is out of range; the data set holds {len(self)} samples')
        position = int(index) % len(self)
        return {
            'inputs': self.images[position].clone(),
            'labels': self.labels[position].clone(),
            'indices': torch.tensor(position),
        }

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A whole batch; equal to stacking the single samples."""
        positions = torch.as_tensor(indices, dtype=torch.int64)
        return {'inputs': self.images[positions], 'labels': self.labels[positions], 'indices': positions}
