"""Grid-CIFAR and Grid-Digits: patches, and the cells of the grid that they go to."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmposenc.mm.datasets.cifar import CIFAR10
from mmposenc.mm.datasets.digits import Digits
from mmposenc.mm.datasets.in_memory import InMemoryImages
from mmposenc.registry import DATASETS

TASKS = ('location', 'category')


class _OnGrid(InMemoryImages):
    """What the data sets below add to a batch; they are its subclasses and those of a data set of patches."""

    def _lay_grid(self, grid_size: int, task: str, split: str, random_cells: bool | None, all_cells: bool) -> None:
        self.num_cells = grid_size**2
        self.all_cells = all_cells
        self.random_cells = (split == 'train' and not all_cells) if random_cells is None else random_cells
        classes = [f'row {cell // grid_size} column {cell % grid_size}' for cell in range(self.num_cells)]
        grid: dict[str, Any] = {'grid_size': grid_size, 'task': task}
        self.grid = BaseDataElement(metainfo=grid)
        self.metainfo = {'classes': tuple(classes) if task == 'location' else self.metainfo['classes'], **grid}

    def __len__(self) -> int:
        return super().__len__() * (self.num_cells if self.all_cells else 1)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f'index {index} is out of range; the data set holds {len(self)} samples')
        batch = self.__getitems__([index % len(self)])
        return {key: value[0] if isinstance(value, Tensor) else value for key, value in batch.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        batch = super().__getitems__([i // self.num_cells for i in indices] if self.all_cells else indices)
        samples = torch.as_tensor(indices, dtype=torch.int64)
        cells = {} if self.random_cells else {'cells': samples % self.num_cells}
        return {**batch, 'indices': samples, 'grid': self.grid, **cells}


def _check(grid_size: int, task: str, random_cells: bool | None, all_cells: bool) -> None:
    if grid_size < 2:
        raise ValueError(f'grid_size must be at least 2 cells per side, got {grid_size}')
    if task not in TASKS:
        raise ValueError(f'task must be one of {", ".join(TASKS)}, got {task!r}')
    if all_cells and random_cells:
        raise ValueError('all_cells shows every image in every cell, so random_cells cannot be True; leave one out')


@DATASETS.register_module()
class GridCIFAR10(_OnGrid, CIFAR10):
    """CIFAR-10 images, each in one cell of an n x n grid (Sec. 3, Fig. 1, Table 1).

    A batch holds the 32x32 patches and says which grid they go to; `BatchPlaceOnGrid` in the preprocessor's transforms
    makes the canvas on the device, and the labels of the task. Grid and task are said here and nowhere else but in the
    head's `num_classes`, which `HeadCheckHook` compares. In training the cell is drawn anew each time; in testing it is
    `index % grid_size ** 2`, the same at every batch size and on every machine.

    Args:
        grid_size: Cells per side, at least 2. Default 3; Table 1 has 3, 5 and 7.
        task: 'location' (the cell, row-major from 0) or 'category' (the class of the image).
        random_cells: Leave the cells to be drawn on the device. None does so for the split 'train' only.
        all_cells: Show every image in every cell: sample i is image i // grid_size ** 2 in cell i % grid_size ** 2.
        data_root: As in `CIFAR10`.
        split: 'train' or 'test'.
        indices: As in `CIFAR10`, of the images.
        fraction: As in `CIFAR10`, of the images.
        verify: As in `CIFAR10`.
        download: As in `CIFAR10`.

    Shape:
        A batch: inputs (B, 3, 32, 32) uint8, labels (B,) int64 categories, indices (B,) int64, grid (its `grid_size`
        and `task`), and, unless they are random, cells (B,) int64.

    Raises:
        ValueError: If `grid_size` is below 2, the task unknown, or the cells shall be both random and all; and as in
            `CIFAR10`.

    Example:
        >>> dataset = dict(type='mmposenc.GridCIFAR10', grid_size=5, task='location', split='test')
    """

    def __init__(
        self,
        grid_size: int = 3,
        task: str = 'location',
        random_cells: bool | None = None,
        all_cells: bool = False,
        data_root: str | None = None,
        split: str = 'train',
        indices: int | Sequence[int] | None = None,
        fraction: float | None = None,
        verify: bool = True,
        download: bool = True,
    ) -> None:
        _check(grid_size, task, random_cells, all_cells)
        super().__init__(data_root, split, indices, fraction, verify, download)
        self._lay_grid(grid_size, task, split, random_cells, all_cells)


@DATASETS.register_module()
class GridDigits(_OnGrid, Digits):
    """Handwritten digits, each in one cell of an n x n grid (Sec. 3, Fig. 1), for use offline.

    Arguments, batches and errors are those of `GridCIFAR10`, without the files.

    Args:
        grid_size: As in `GridCIFAR10`.
        task: As in `GridCIFAR10`.
        random_cells: As in `GridCIFAR10`.
        all_cells: As in `GridCIFAR10`.
        patch_size: Width in px of what is kept of each 32x32 image, its middle. Default 16, the digit without margin.
        split: 'train' or 'test'.
        indices: As in `Digits`, of the images.
        fraction: As in `Digits`, of the images.
    """

    def __init__(
        self,
        grid_size: int = 3,
        task: str = 'location',
        random_cells: bool | None = None,
        all_cells: bool = False,
        patch_size: int = 16,
        split: str = 'train',
        indices: int | Sequence[int] | None = None,
        fraction: float | None = None,
    ) -> None:
        _check(grid_size, task, random_cells, all_cells)
        super().__init__(split, indices, fraction)
        width = self.images.shape[-1]
        if not 1 <= patch_size <= width:
            raise ValueError(f'patch_size must be 1 to {width} px, the width of a digit image, got {patch_size}')
        start = (width - patch_size) // 2
        inside = slice(start, start + patch_size)
        self.images = self.images[..., inside, inside].contiguous()
        self._lay_grid(grid_size, task, split, random_cells, all_cells)
