"""Grid-CIFAR's canvas, made on the device from the patches of a whole batch."""

import torch
from torch import Tensor

from mmposenc.registry import TRANSFORMS


@TRANSFORMS.register_module()
class BatchPlaceOnGrid:
    """Put each patch of a batch into one cell of an n x n grid (Sec. 3, Fig. 1).

    Only the patches travel to the device. Grid, task and cells come with the batch of a `GridCIFAR10`, `GridCIFAR100`
    or `GridDigits`, so that a config says them once; a batch without cells (training) gets them drawn here. As in the
    authors' code it works on normalised patches, and a flip before it mirrors the patch, not the canvas.

    Args:
        canvas_value: Value of the empty cells after normalisation. Default 0, the authors' code.
        cell_size: Width of a cell in px. The patch lies in its middle. None takes the patch's own size.

    Required Keys:
        - inputs (B, C, h, w)
        - labels
        - grid (anything with the attributes grid_size and task)
        - cells (optional; without it they are drawn uniformly)

    Modified Keys:
        - inputs (B, C, grid_size * cell_size, grid_size * cell_size)
        - labels (the cells, for task 'location')

    Added Keys:
        - cells

    Raises:
        ValueError: If `cell_size` is below 1; when called, if the batch names no grid or a patch exceeds its cell.
    """

    def __init__(self, canvas_value: float = 0.0, cell_size: int | None = None) -> None:
        if cell_size is not None and cell_size < 1:
            raise ValueError(f'cell_size must be at least 1 px, got {cell_size}')
        self.canvas_value = canvas_value
        self.cell_size = cell_size

    def __call__(self, batch: dict) -> dict:
        if 'grid' not in batch:
            raise ValueError(
                f'BatchPlaceOnGrid needs a batch that names its grid, got the keys {sorted(batch)}; '
                'use a data set such as mmposenc.GridCIFAR10'
            )
        patches, grid, cells = batch['inputs'], batch['grid'], batch.get('cells')
        if cells is None:
            cells = torch.randint(grid.grid_size**2, (len(patches),), device=patches.device)
        labels = cells if grid.task == 'location' else batch['labels']
        canvas = place_on_grid(patches, cells, grid.grid_size, self.canvas_value, self.cell_size)
        return {**batch, 'inputs': canvas, 'labels': labels, 'cells': cells}


def place_on_grid(
    patches: Tensor, cells: Tensor, grid_size: int, canvas_value: float = 0.0, cell_size: int | None = None
) -> Tensor:
    """Compose the canvases of a batch with one indexed copy (Fig. 1).

    Args:
        patches: Patches of any dtype.
        cells: Cell of each patch, row-major from 0, below grid_size ** 2.
        grid_size: Cells per side.
        canvas_value: Value of the empty cells.
        cell_size: Width of a cell in px. None takes the patch's own size.

    Shape:
        patches (B, C, h, w); cells (B,), int64; output (B, C, grid_size * cell_size, grid_size * cell_size).

    Raises:
        ValueError: If a patch is larger than a cell, or `grid_size` is below 2.
    """
    if grid_size < 2:
        raise ValueError(f'grid_size must be at least 2 cells per side, got {grid_size}')
    number, channels, height, width = patches.shape
    cell_height, cell_width = (height, width) if cell_size is None else (cell_size, cell_size)
    if height > cell_height or width > cell_width:
        raise ValueError(
            f'a patch must fit into its cell of {cell_height}x{cell_width} px, got patches of {height}x{width} px; '
            'raise cell_size, or leave it out to take the size of the patch'
        )
    canvas = patches.new_full((number, channels, grid_size, cell_height, grid_size, cell_width), canvas_value)
    top, left = (cell_height - height) // 2, (cell_width - width) // 2
    inside = canvas[:, :, :, top : top + height, :, left : left + width]
    samples = torch.arange(number, device=patches.device)
    inside[samples, :, cells // grid_size, :, cells % grid_size] = patches
    return canvas.view(number, channels, grid_size * cell_height, grid_size * cell_width)
