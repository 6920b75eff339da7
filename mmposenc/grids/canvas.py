"""Canvases: a patch in one cell of an n x n grid (Sec. 3, Fig. 1)."""

import torch
from torch import Tensor

CANVASES = ('zeros', 'noise', 'images', 'rolled')
"""What surrounds a patch; see `probe_location`."""


def place_on_grid(patches: Tensor, cells: Tensor, grid_size: int) -> Tensor:
    """Put each patch of a batch into its cell of a canvas of zeros, with one indexed copy (Fig. 1).

    Args:
        patches: (B, C, h, w), of any dtype. The canvases are (B, C, grid_size * h, grid_size * w).
        cells: Cell of each patch, row-major from 0, below grid_size ** 2, (B,), int64.
        grid_size: Cells per side.
    """
    if grid_size < 2:
        raise ValueError(f'grid_size must be at least 2 cells per side, got {grid_size}')
    number, channels, height, width = patches.shape
    canvas = patches.new_zeros(number, channels, grid_size, height, grid_size, width)
    samples = torch.arange(number, device=patches.device)
    canvas[samples, :, cells // grid_size, :, cells % grid_size] = patches
    return canvas.view(number, channels, grid_size * height, grid_size * width)


def cut_middle(images: Tensor, size: int) -> Tensor:
    """The middle size x size px of each image (..., H, W)."""
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


def canvas_side(grid_size: int, patch_size: int, cell_size: int) -> int:
    """Width of the canvas in px on which a patch moves by whole cells; cells narrower than the patch overlap."""
    return (grid_size - 1) * cell_size + max(cell_size, patch_size)


def cell_canvases(patch: Tensor, surroundings: Tensor | None, grid_size: int, cell_size: int) -> Tensor:
    """A patch (C, h, h) in every cell of the grid, on zeros or on surroundings (C, side, side) that all cells share.

    Gives (grid_size ** 2, C, side, side) with the side of `canvas_side`, cells row-major.
    """
    size = patch.shape[-1]
    side, margin = canvas_side(grid_size, size, cell_size), max(cell_size - size, 0) // 2
    around = patch.new_zeros(len(patch), side, side) if surroundings is None else surroundings
    canvases = around.repeat(grid_size**2, 1, 1, 1)
    for cell, canvas in enumerate(canvases):
        top, left = (margin + place * cell_size for place in divmod(cell, grid_size))
        canvas[:, top : top + size, left : left + size] = patch
    return canvases


def rolled_canvases(image: Tensor, grid_size: int, cell_size: int) -> Tensor:
    """One image (C, side, side), rolled by whole cells; shapes as in `cell_canvases`."""
    cells = (divmod(cell, grid_size) for cell in range(grid_size**2))
    return torch.stack([image.roll((row * cell_size, column * cell_size), (-2, -1)) for row, column in cells])
