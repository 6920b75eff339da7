"""Grid data sets: patches, and the cells they go to."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmposenc.mm.datasets.cifar import CIFAR10
from mmposenc.mm.datasets.grid_cifar import GridCIFAR10, GridDigits
from mmposenc.mm.datasets.in_memory import Digits, pass_batch
from mmposenc.registry import DATASETS


@pytest.mark.parametrize('grid_size', [2, 3, 5, 7, 9])
def test_in_testing_the_cell_is_the_index_modulo_the_cells_whatever_the_batch(grid_size: int):
    batch = GridDigits(grid_size=grid_size).__getitems__([5, 2])  # of training
    assert sorted(batch) == ['grid', 'indices', 'inputs', 'labels']
    assert (batch['inputs'].shape, batch['inputs'].dtype) == ((2, 3, 16, 16), torch.uint8)
    assert (batch['grid'].grid_size, batch['grid'].task) == (grid_size, 'location')
    data = GridDigits(grid_size=grid_size, split='test')
    everything = data.__getitems__(range(len(data)))
    assert everything['cells'].tolist() == [i % grid_size**2 for i in range(355)]
    assert data.__getitems__([300, 7])['cells'].tolist() == [300 % grid_size**2, 7 % grid_size**2]
    assert data[300]['cells'].item() == 300 % grid_size**2
    assert GridDigits(grid_size, random_cells=False)[7]['cells'].item() == 7 % grid_size**2
    assert 'cells' not in GridDigits(grid_size, split='test', random_cells=True)[7]


def test_all_cells_shows_every_image_in_every_cell_once():
    data, plain = GridDigits(grid_size=3, split='test', indices=5, all_cells=True), Digits('test', indices=5)
    batch = data.__getitems__(range(len(data)))
    assert len(data) == 45
    assert batch['indices'].tolist() == list(range(45))
    assert batch['cells'].tolist() == list(range(9)) * 5
    assert batch['labels'].tolist() == [label for label in plain.labels.tolist() for _ in range(9)]
    assert torch.equal(batch['inputs'][10], plain.images[1, :, 8:24, 8:24])  # sample 10: image 1 in cell 1
    with pytest.raises(IndexError, match='index 45 is out of range; the data set holds 45 samples'):
        data[45]


def test_the_middle_of_a_digit_is_kept():
    plain, middle, whole = Digits('test'), GridDigits(split='test'), GridDigits(split='test', patch_size=32)
    assert torch.equal(whole.images, plain.images)
    assert torch.equal(middle.images, plain.images[..., 8:24, 8:24])


def test_grid_cifar10_is_cifar10_in_cells(tmp_path: Path):
    content = {'data': np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8), 'labels': [0, 1, 2]}
    (tmp_path / 'cifar-10-batches-py').mkdir()
    (tmp_path / 'cifar-10-batches-py' / 'test_batch').write_bytes(pickle.dumps(content))
    test = {'data_root': str(tmp_path), 'split': 'test', 'verify': False}
    plain = CIFAR10(**test)
    data = DATASETS.build({'type': 'GridCIFAR10', 'grid_size': 2, 'task': 'category', **test})
    (batch,) = DataLoader(data, batch_size=3, collate_fn=pass_batch, pin_memory=torch.cuda.is_available())
    assert torch.equal(batch['inputs'], plain.images)
    assert batch['labels'].tolist() == plain.labels.tolist()
    assert batch['cells'].tolist() == [0, 1, 2]
    assert batch['grid'].task == 'category'


def test_metainfo_names_what_the_labels_of_the_task_are():
    location, category = (GridDigits(grid_size=2, task=task) for task in ('location', 'category'))
    assert location.metainfo == {
        'classes': ('row 0 column 0', 'row 0 column 1', 'row 1 column 0', 'row 1 column 1'),
        'grid_size': 2,
        'task': 'location',
    }
    assert category.metainfo['classes'] == tuple('0123456789')


@pytest.mark.parametrize('arguments, message', [
    (dict(grid_size=1), 'grid_size must be at least 2 cells per side, got 1'),
    (dict(task='position'), "task must be one of location, category, got 'position'"),
    (dict(all_cells=True, random_cells=True), 'all_cells shows every image in every cell'),
    (dict(patch_size=33), 'patch_size must be 1 to 32 px, the width of a digit image, got 33'),
])  # fmt: skip
def test_bad_input(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        GridDigits(**arguments)
    if 'patch_size' not in arguments:  # before any file is looked for
        with pytest.raises(ValueError, match=message):
            GridCIFAR10(data_root='nowhere', **arguments)
