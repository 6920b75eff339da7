"""Grid-CIFAR and Grid-Digits: patches, and the cells of the grid that they go to."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.structures import BaseDataElement

from mmposenc.grids.canvas import cut_middle
from mmposenc.mm.datasets.cifar import CIFAR10
from mmposenc.mm.datasets.in_memory import Digits, InMemoryImages
from mmposenc.registry import DATASETS


class _OnGrid(InMemoryImages):
    """What makes a data set of patches, the other base class of the data sets below, one of patches on a grid."""

    def __init__(
        self,
        grid_size: int = 3,
        task: str = 'location',
        random_cells: bool | None = None,
        all_cells: bool = False,
        split: str = 'train',
        **kwargs: Any,
    ) -> None:
        if grid_size < 2:
            raise ValueError(f'grid_size must be at least 2 cells per side, got {grid_size}')
        if task not in ('location', 'category'):
            raise ValueError(f'task must be one of location, category, got {task!r}')
        if all_cells and random_cells:
            raise ValueError('all_cells shows every image in every cell, so random_cells cannot be True; leave one out')
        super().__init__(split=split, **kwargs)  # type: ignore[call-arg]
        self.num_cells = grid_size**2
        self.all_cells = all_cells
        self.random_cells = (split == 'train' and not all_cells) if random_cells is None else random_cells
        classes = tuple(f'row {cell // grid_size} column {cell % grid_size}' for cell in range(self.num_cells))
        grid: dict[str, Any] = {'grid_size': grid_size, 'task': task}
        self.grid = BaseDataElement(metainfo=grid)
        self.metainfo = {'classes': classes if task == 'location' else self.metainfo['classes'], **grid}

    def __len__(self) -> int:
        return super().__len__() * (self.num_cells if self.all_cells else 1)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        batch = super().__getitems__([i // self.num_cells for i in indices] if self.all_cells else indices)
        samples = torch.as_tensor(indices, dtype=torch.int64)
        cells = {} if self.random_cells else {'cells': samples % self.num_cells}
        return {**batch, 'indices': samples, 'grid': self.grid, **cells}


@DATASETS.register_module()
class GridCIFAR10(_OnGrid, CIFAR10):
    """CIFAR-10 images, each in one cell of an n x n grid (Sec. 3, Fig. 1, Table 1).

    A batch holds the 32x32 patches, `grid` (its `grid_size` and `task`), and, unless they are random, `cells` (B,);
    `BatchPlaceOnGrid` in the preprocessor's transforms makes the canvas on the device, and the labels of the task. In
    training the cell is drawn anew each time; in testing it is `index % grid_size ** 2`, at every batch size.

    Args:
        grid_size: Cells per side, at least 2. Default 3; Table 1 has 3, 5 and 7.
        task: 'location' (the cell, row-major from 0) or 'category' (the class of the image).
        random_cells: Leave the cells to be drawn on the device. None does so for the split 'train' only.
        all_cells: Show every image in every cell: sample i is image i // grid_size ** 2 in cell i % grid_size ** 2.
        **kwargs: Arguments of `CIFAR10`; `indices` and `fraction` are of the images.
    """


@DATASETS.register_module()
class GridDigits(_OnGrid, Digits):
    """`GridCIFAR10` with handwritten digits, for use offline (Sec. 3, Fig. 1).

    It takes no `data_root`, `verify` and `download`.

    Args:
        patch_size: Width in px of what is kept of each 32x32 image, its middle. Default 16, the digit without margin.
    """

    def __init__(self, *args: Any, patch_size: int = 16, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        width = self.images.shape[-1]
        if not 1 <= patch_size <= width:
            raise ValueError(f'patch_size must be 1 to {width} px, the width of a digit image, got {patch_size}')
        self.images = cut_middle(self.images, patch_size).contiguous()
