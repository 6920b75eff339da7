"""The grid canvas for one sample of an ordinary OpenMMLab pipeline."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmposenc.registry import TRANSFORMS

TASKS = ('location', 'category')


def check_grid(grid_size: int, task: str) -> None:
    """Raise a ValueError unless there can be such a grid and such a task (Sec. 3)."""
    if grid_size < 2:
        raise ValueError(f'grid_size must be at least 2 cells per side, got {grid_size}')
    if task not in TASKS:
        raise ValueError(f'task must be one of {", ".join(TASKS)}, got {task!r}')


@TRANSFORMS.register_module()
class PlaceOnGrid(BaseTransform):
    """Put the image of a sample into one cell of an n x n grid (Sec. 3, Fig. 1).

    For any data set with an OpenMMLab pipeline; `GridCIFAR10` and its kin do the same for a whole batch on the device.
    Put it after the transforms that make the patch and before `PackInputs`.

    Args:
        grid_size: Cells per side, at least 2.
        task: 'location' makes the cell the label, 'category' keeps the label.
        random_cell: Draw the cell anew each time, for training. False makes it a fixed function of the sample's index
            (`sample_idx % grid_size ** 2`), for testing.
        canvas_value: Value of the empty cells, one number or one per channel in the image's own channel order. The
            preprocessor's mean gives zero after normalisation, as in the authors' code. The canvas keeps the image's
            type if that type can hold the value, and is float32 otherwise.
        cell_size: Width of a cell in px; the patch lies in its middle. None takes the patch's own size.

    Required Keys:
        - img (H, W) or (H, W, C)
        - sample_idx (with `random_cell=False`)

    Modified Keys:
        - img
        - img_shape
        - gt_label (for task 'location')

    Added Keys:
        - cell (row-major from 0)

    Raises:
        ValueError: If `grid_size` is below 2 or the task unknown; when called, if the patch exceeds its cell or the
            sample has no index to take the cell from.
    """

    def __init__(
        self,
        grid_size: int,
        task: str = 'location',
        random_cell: bool = True,
        canvas_value: float | Sequence[float] = 0,
        cell_size: int | None = None,
    ) -> None:
        check_grid(grid_size, task)
        self.grid_size = grid_size
        self.task = task
        self.random_cell = random_cell
        self.canvas_value = np.asarray(canvas_value, dtype=np.float32)
        self.cell_size = cell_size

    def transform(self, results: dict) -> dict:
        """Replace the image by the canvas."""
        cell = self._cell(results)
        img = results['img']
        height, width = img.shape[:2]
        cell_height, cell_width = (height, width) if self.cell_size is None else (self.cell_size, self.cell_size)
        if height > cell_height or width > cell_width:
            raise ValueError(
                f'a patch must fit into its cell of {cell_height}x{cell_width} px, got a patch of {height}x{width} px; '
                'resize the patch first or raise cell_size'
            )
        shape = (self.grid_size * cell_height, self.grid_size * cell_width, *img.shape[2:])
        value = self.canvas_value.astype(img.dtype)
        canvas = np.empty(shape, img.dtype if np.array_equal(value, self.canvas_value) else np.float32)
        canvas[...] = self.canvas_value
        row, column = divmod(cell, self.grid_size)
        top = row * cell_height + (cell_height - height) // 2
        left = column * cell_width + (cell_width - width) // 2
        canvas[top : top + height, left : left + width] = img
        placed = {**results, 'img': canvas, 'img_shape': canvas.shape[:2], 'cell': cell}
        return {**placed, 'gt_label': cell} if self.task == 'location' else placed

    def _cell(self, results: dict) -> int:
        if self.random_cell:
            return int(np.random.randint(self.grid_size**2))
        if 'sample_idx' not in results:
            raise ValueError(
                'PlaceOnGrid(random_cell=False) takes the cell from sample_idx, which the sample lacks; '
                'use a data set that derives from mmengine.dataset.BaseDataset, or random_cell=True'
            )
        return results['sample_idx'] % self.grid_size**2

    def __repr__(self) -> str:
        return (
            f'PlaceOnGrid(grid_size={self.grid_size}, task={self.task!r}, random_cell={self.random_cell}, '
            f'canvas_value={self.canvas_value.tolist()}, cell_size={self.cell_size})'
        )
