"""val-left and val-right from label maps and from CityPersons boxes."""

import json

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmseg.datasets import BaseSegDataset, CityscapesDataset
from PIL import Image

from mmposenc.mm.datasets.camvid import CamVid
from mmposenc.mm.datasets.region_subsets import subsets_from_boxes, subsets_from_labels, write_list

PEDESTRIAN = 9


def make_camvid(root, scenes):
    """Label maps of 2 x 10 px from {name: columns that hold a pedestrian}."""
    for folder in ('val', 'valannot'):
        (root / folder).mkdir()
    for name, columns in scenes.items():
        labels = np.full((2, 10), 3, np.uint8)
        labels[:, columns] = PEDESTRIAN
        Image.fromarray(labels).save(root / 'valannot' / f'{name}.png')
        Image.fromarray(np.zeros((2, 10, 3), np.uint8)).save(root / 'val' / f'{name}.png')
    return CamVid(data_root=str(root), data_prefix={'img_path': 'val', 'seg_map_path': 'valannot'}, pipeline=[])


def test_subsets_from_label_maps(tmp_path):
    scenes = {'a': [0, 4], 'b': [5], 'c': [2, 7], 'd': [], 'e': [0, 1, 2, 9], 'f': [4]}
    dataset = make_camvid(tmp_path, scenes)
    assert subsets_from_labels(dataset) == {'left': ['a', 'f'], 'right': ['b']}
    assert subsets_from_labels(dataset, tolerance=0.25) == {'left': ['a', 'e', 'f'], 'right': ['b']}


def test_the_list_is_an_ann_file_of_the_same_data_set(tmp_path):
    dataset = make_camvid(tmp_path, {'a': [0], 'b': [9], 'c': [1]})
    write_list(subsets_from_labels(dataset)['left'], tmp_path / 'lists' / 'val-left.txt')
    assert (tmp_path / 'lists' / 'val-left.txt').read_text() == 'a\nc\n'
    prefix = {'img_path': 'val', 'seg_map_path': 'valannot'}
    subset = CamVid(data_root=str(tmp_path), data_prefix=prefix, ann_file='lists/val-left.txt', pipeline=[])
    paths = [subset.get_data_info(position)['seg_map_path'] for position in range(len(subset))]
    assert paths == [str(tmp_path / 'valannot' / name) for name in ('a.png', 'c.png')]


def test_names_in_subfolders_as_cityscapes_has_them(tmp_path):
    for side_, column in (('left', 0), ('right', 3)):
        folders = [tmp_path / kind / 'ulm' for kind in ('img', 'ann')]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        labels = np.zeros((2, 4), np.uint8)
        labels[:, column] = CityscapesDataset.METAINFO['classes'].index('person')
        Image.fromarray(labels).save(folders[0] / f'{side_}_leftImg8bit.png')
        Image.fromarray(labels).save(folders[1] / f'{side_}_gtFine_labelTrainIds.png')
    prefix = {'img_path': 'img', 'seg_map_path': 'ann'}
    dataset = CityscapesDataset(data_root=str(tmp_path), data_prefix=prefix, pipeline=[])
    assert subsets_from_labels(dataset, 'person') == {'left': ['ulm/left'], 'right': ['ulm/right']}


def test_reduced_labels_are_read_as_the_data_set_reads_them(tmp_path):
    for name, column in (('x', 0), ('y', 1)):
        labels = np.ones((2, 2), np.uint8)
        labels[:, column] = 2
        Image.fromarray(labels).save(tmp_path / f'{name}.png')
    dataset = BaseSegDataset(
        metainfo={'classes': ('ground', 'thing')},
        data_prefix={'img_path': str(tmp_path), 'seg_map_path': str(tmp_path)},
        img_suffix='.png',
        reduce_zero_label=True,
    )
    assert subsets_from_labels(dataset, 'thing') == {'left': ['x'], 'right': ['y']}


def write_boxes(folder, name, *boxes, width=100):
    (folder / 'ulm').mkdir(exist_ok=True)
    objects = [{'label': label, 'bbox': box, 'bboxVis': [0, 0, 1, 1]} for label, *box in boxes]
    path = folder / 'ulm' / f'{name}_gtBboxCityPersons.json'
    path.write_text(json.dumps({'imgHeight': 50, 'imgWidth': width, 'objects': objects}))


def test_subsets_from_citypersons_boxes(tmp_path):
    write_boxes(tmp_path, 'a', ('pedestrian', 0, 0, 50, 10), ('rider', 60, 0, 5, 5))
    write_boxes(tmp_path, 'b', ('pedestrian', 50, 0, 5, 5), ('pedestrian', 90, 0, 5, 5))
    write_boxes(tmp_path, 'c', ('pedestrian', 40, 0, 12, 10))  # 10 of 12 columns left
    write_boxes(tmp_path, 'd', ('ignore', 0, 0, 5, 5))
    assert subsets_from_boxes(tmp_path) == {'left': ['ulm/a'], 'right': ['ulm/b']}
    assert subsets_from_boxes(tmp_path, tolerance=0.2) == {'left': ['ulm/a', 'ulm/c'], 'right': ['ulm/b']}
    with pytest.raises(ValueError, match=r"class 'person' is unknown; the boxes are of ignore, pedestrian, rider"):
        subsets_from_boxes(tmp_path, 'person')


SHORT = '{"imgWidth": 100, "objects": [{"label": "pedestrian", "bbox": [1, 2, 3]}]}'


@pytest.mark.parametrize('text', ['{"imgWidth": 10', '[]', '{"objects": []}', SHORT])
def test_broken_box_files(tmp_path, text):
    (tmp_path / 'x_gtBboxCityPersons.json').write_text(text)
    with pytest.raises(ValueError, match=r'x_gtBboxCityPersons\.json is not a CityPersons annotation'):
        subsets_from_boxes(tmp_path)


def test_other_data_sets_are_refused(tmp_path):
    dataset = make_camvid(tmp_path, {'a': [0], 'b': [4]})
    with pytest.raises(TypeError, match='must be a BaseSegDataset of mmseg, got ConcatDataset'):
        subsets_from_labels(ConcatDataset([dataset, dataset]))
    with pytest.raises(FileNotFoundError, match=r'no \*_gtBboxCityPersons\.json below'):
        subsets_from_boxes(tmp_path)
