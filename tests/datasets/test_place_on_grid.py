"""The canvas of one sample."""

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, Compose
from mmpretrain.datasets import PackInputs
from mmpretrain.models import ClsDataPreprocessor

from mmposenc.mm.datasets.place_on_grid import PlaceOnGrid
from mmposenc.registry import TRANSFORMS


def sample(index: int = 0, **more) -> dict:
    img = np.arange(1, 13, dtype=np.uint8).reshape(2, 2, 3)
    return {'img': img, 'img_shape': (2, 2), 'gt_label': 77, 'sample_idx': index, **more}


@pytest.mark.parametrize('index', range(12))
def test_every_cell_of_a_3x3_row_major_and_exact_zeros_elsewhere(index: int):
    given = sample(index)
    placed = PlaceOnGrid(3, random_cell=False)(given)
    cell = index % 9
    expected = np.zeros((6, 6, 3), np.uint8)
    expected[2 * (cell // 3) : 2 * (cell // 3) + 2, 2 * (cell % 3) : 2 * (cell % 3) + 2] = given['img']
    assert np.array_equal(placed['img'], expected)
    assert placed['img'].dtype == np.uint8
    assert (placed['gt_label'], placed['cell'], placed['img_shape']) == (cell, cell, (6, 6))
    assert (given['gt_label'], given['img'].shape) == (77, (2, 2, 3))


def test_for_category_the_label_stays():
    placed = PlaceOnGrid(3, task='category', random_cell=False)(sample(4))
    assert (placed['gt_label'], placed['cell']) == (77, 4)


def test_random_cells_are_uniform_and_match_the_canvas():
    np.random.seed(0)
    place, counts = PlaceOnGrid(2), np.zeros(4, int)
    for _ in range(400):
        placed = place(sample())
        row, column = divmod(placed['gt_label'], 2)
        assert placed['img'][2 * row, 2 * column].tolist() == [1, 2, 3]
        counts[placed['gt_label']] += 1
    assert counts.min() > 70  # 100 expected, standard deviation 9


def test_a_larger_cell_holds_the_patch_in_its_middle():
    canvas = PlaceOnGrid(2, random_cell=False, cell_size=5, canvas_value=9)(sample(3))['img']
    assert canvas.shape == (10, 10, 3)
    assert canvas[6:8, 6:8].reshape(-1).tolist() == list(range(1, 13))
    assert (canvas == 9).sum() == 300 - 12 + 1  # the patch holds one 9


def test_a_grey_image_without_channel_axis():
    placed = PlaceOnGrid(2, random_cell=False)(sample(1, img=np.ones((2, 2), np.float32)))
    assert placed['img'].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_the_mean_as_canvas_value_is_exactly_zero_after_the_hosts_normalisation():
    mean, std = [125.307, 122.961, 113.8575], [51.5865, 50.847, 51.255]
    pipeline = Compose([PlaceOnGrid(2, random_cell=False, canvas_value=mean), PackInputs()])
    packed = pipeline(sample(0))
    assert packed['data_samples'].gt_label.item() == 0
    inputs = ClsDataPreprocessor(mean=mean, std=std)({'inputs': [packed['inputs']]})['inputs']
    assert inputs[0, :, :2, :2].count_nonzero() == 12
    assert inputs.count_nonzero() == 12


def test_in_a_pipeline_of_any_data_set_the_index_decides():
    data_list = [{'img': np.full((2, 2, 3), 200, np.uint8), 'gt_label': 5} for _ in range(10)]

    class Images(BaseDataset):
        def load_data_list(self) -> list[dict]:
            return data_list

    data = Images(pipeline=[TRANSFORMS.build({'type': 'PlaceOnGrid', 'grid_size': 2, 'random_cell': False})])
    assert [data[i]['gt_label'] for i in range(10)] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match='grid_size must be at least 2 cells per side, got 0'):
        PlaceOnGrid(0)
    with pytest.raises(ValueError, match="task must be one of location, category, got 'both'"):
        PlaceOnGrid(3, task='both')
    with pytest.raises(ValueError, match='cell of 1x1 px, got a patch of 2x2 px; resize'):
        PlaceOnGrid(3, cell_size=1)(sample())
    with pytest.raises(ValueError, match=r'takes the cell from sample_idx, which the sample lacks'):
        PlaceOnGrid(3, random_cell=False)({'img': np.zeros((2, 2, 3), np.uint8)})


def test_the_repr_names_the_options():
    assert repr(PlaceOnGrid(3, canvas_value=[1, 2, 3])) == (
        "PlaceOnGrid(grid_size=3, task='location', random_cell=True, canvas_value=[1.0, 2.0, 3.0], cell_size=None)"
    )
