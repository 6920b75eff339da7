"""Canvases: where a patch lies, and what lies around it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mmposenc.grids.canvas import cell_canvases, place_on_grid


@settings(max_examples=25, deadline=None)
@given(grid_size=st.sampled_from([2, 3, 5, 7, 9]), height=st.integers(1, 6), width=st.integers(1, 6), data=st.data())
def test_any_grid_and_patch(grid_size, height, width, data):
    cells = torch.tensor(data.draw(st.lists(st.integers(0, grid_size**2 - 1), min_size=1, max_size=4)))
    patches = 5 + torch.rand(len(cells), 2, height, width)
    canvas = place_on_grid(patches, cells, grid_size)
    assert canvas.shape == (len(cells), 2, grid_size * height, grid_size * width)
    for image, patch, cell in zip(canvas, patches, cells.tolist(), strict=True):
        top, left = cell // grid_size * height, cell % grid_size * width
        expected = torch.zeros_like(image)
        expected[:, top : top + height, left : left + width] = patch
        assert torch.equal(image, expected)


def test_one_image_in_every_cell_and_the_same_surroundings_in_all():
    patch, around = torch.rand(3, 4, 4), torch.rand(3, 18, 18)
    bare, surrounded = (cell_canvases(patch, s, grid_size=3, cell_size=6) for s in (None, around))
    for cell in range(9):
        window = slice(6 * (cell // 3) + 1, 6 * (cell // 3) + 5), slice(6 * (cell % 3) + 1, 6 * (cell % 3) + 5)
        empty, background = torch.zeros(3, 18, 18), around.clone()
        empty[:, window[0], window[1]] = background[:, window[0], window[1]] = patch
        assert torch.equal(bare[cell], empty)
        assert torch.equal(surrounded[cell], background)


def test_cells_narrower_than_the_patch_overlap():
    patch = torch.rand(3, 4, 4)
    canvases = cell_canvases(patch, None, grid_size=3, cell_size=2)
    assert canvases.shape == (9, 3, 8, 8)
    for cell, canvas in enumerate(canvases):
        top, left = 2 * (cell // 3), 2 * (cell % 3)
        assert torch.equal(canvas, F.pad(patch, (left, 4 - left, top, 4 - top)))


def test_bad_input():
    with pytest.raises(ValueError, match='grid_size must be at least 2 cells per side, got 1'):
        place_on_grid(torch.rand(1, 3, 4, 4), torch.tensor([0]), 1)
