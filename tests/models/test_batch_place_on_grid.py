"""The canvas of a whole batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import BaseDataElement

from mmposenc.mm.models.batch_place_on_grid import BatchPlaceOnGrid, place_on_grid
from mmposenc.mm.models.batch_preprocessor import BatchPreprocessor


def grid(grid_size: int, task: str) -> BaseDataElement:
    return BaseDataElement(metainfo={'grid_size': grid_size, 'task': task})


def grid_batch(number: int, grid_size: int = 3, task: str = 'location', **more) -> dict:
    patches = 1 + torch.rand(number, 3, 4, 4)
    labels = torch.full((number,), 77)
    return {'inputs': patches, 'labels': labels, 'grid': grid(grid_size, task), **more}


def test_every_cell_of_a_3x3_row_major_and_exact_zeros_elsewhere():
    batch = grid_batch(9, cells=torch.arange(9))
    placed = BatchPlaceOnGrid()(batch)
    assert placed['inputs'].shape == (9, 3, 12, 12)
    assert placed['labels'].tolist() == list(range(9))
    for cell, (canvas, patch) in enumerate(zip(placed['inputs'], batch['inputs'], strict=True)):
        top, left = 4 * (cell // 3), 4 * (cell % 3)
        assert torch.equal(canvas[:, top : top + 4, left : left + 4], patch)
        assert canvas.count_nonzero() == patch.numel()


def test_a_hand_written_canvas():
    canvas = place_on_grid(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([1]), grid_size=2)
    assert canvas[0, 0].tolist() == [[0, 0, 1, 2], [0, 0, 3, 4], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_for_category_the_labels_stay():
    placed = BatchPlaceOnGrid()(grid_batch(5, task='category'))
    assert placed['labels'].tolist() == [77] * 5
    assert placed['cells'].shape == (5,)


def test_drawn_cells_are_uniform_and_name_where_the_patch_lies():
    torch.manual_seed(0)
    placed = BatchPlaceOnGrid()(grid_batch(1800))
    counts = placed['labels'].bincount(minlength=9)
    assert len(counts) == 9
    assert counts.min() > 150  # 200 expected, standard deviation 13
    sums = placed['inputs'].sum(1).view(1800, 3, 4, 3, 4).sum((2, 4)).flatten(1)
    assert torch.equal(sums.argmax(1), placed['labels'])
    assert ((sums > 0).sum(1) == 1).all()


@settings(max_examples=25, deadline=None)
@given(
    grid_size=st.sampled_from([2, 3, 5, 7, 9]),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    room=st.integers(0, 3),
    value=st.sampled_from([0.0, -2.0, 0.5]),
    data=st.data(),
)
def test_any_grid_patch_and_canvas_value(grid_size, height, width, room, value, data):
    cell_size = None if room == 0 else max(height, width) + room
    cells = torch.tensor(data.draw(st.lists(st.integers(0, grid_size**2 - 1), min_size=1, max_size=4)))
    patches = 5 + torch.rand(len(cells), 2, height, width)
    canvas = place_on_grid(patches, cells, grid_size, value, cell_size)
    cell_height, cell_width = (cell_size, cell_size) if cell_size else (height, width)
    assert canvas.shape == (len(cells), 2, grid_size * cell_height, grid_size * cell_width)
    for image, patch, cell in zip(canvas, patches, cells.tolist(), strict=True):
        top = cell // grid_size * cell_height + (cell_height - height) // 2
        left = cell % grid_size * cell_width + (cell_width - width) // 2
        expected = torch.full_like(image, value)
        expected[:, top : top + height, left : left + width] = patch
        assert torch.equal(image, expected)


def test_the_batch_it_was_given_is_untouched():
    batch = grid_batch(2)
    patches = batch['inputs'].clone()
    BatchPlaceOnGrid()(batch)
    assert sorted(batch) == ['grid', 'inputs', 'labels']
    assert torch.equal(batch['inputs'], patches)


def test_in_the_preprocessor_the_canvas_is_zero_after_normalisation():
    place = {'type': 'mmposenc.BatchPlaceOnGrid'}
    preprocessor = BatchPreprocessor(
        mean=[10, 20, 30], std=[2, 2, 2], train_transforms=[place], test_transforms=[place]
    )
    patches = torch.tensor([12, 24, 36], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    batch = {
        'inputs': patches,
        'labels': torch.tensor([4, 4]),
        'indices': torch.arange(2),
        'grid': grid(2, 'location'),
        'cells': torch.tensor([3, 0]),
    }
    out = preprocessor(batch, training=True)
    assert out['inputs'][0, :, 3, 3].tolist() == [1, 2, 3]
    assert out['inputs'][0].sum() == 4 * (1 + 2 + 3)
    assert torch.cat([sample.gt_label for sample in out['data_samples']]).tolist() == [3, 0]
    assert [sample.gt_label.item() for sample in preprocessor(batch)['data_samples']] == [3, 0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match='grid_size must be at least 2 cells per side, got 1'):
        place_on_grid(torch.rand(1, 3, 4, 4), torch.tensor([0]), 1)
    with pytest.raises(ValueError, match=r'cell of 3x3 px, got patches of 4x4 px; raise cell_size'):
        BatchPlaceOnGrid(cell_size=3)(grid_batch(1))
    with pytest.raises(ValueError, match='cell_size must be at least 1 px, got 0'):
        BatchPlaceOnGrid(cell_size=0)
    with pytest.raises(ValueError, match=r"names its grid, got the keys \['inputs', 'labels'\]"):
        BatchPlaceOnGrid()({'inputs': torch.rand(1, 3, 4, 4), 'labels': torch.tensor([0])})


@pytest.mark.gpu
def test_the_canvas_is_composed_on_the_device():
    batch = grid_batch(9, cells=torch.arange(9))
    on_device = {key: value.cuda() for key, value in batch.items()}
    placed = BatchPlaceOnGrid()(on_device)
    assert placed['inputs'].is_cuda
    assert torch.equal(placed['inputs'].cpu(), BatchPlaceOnGrid()(batch)['inputs'])
