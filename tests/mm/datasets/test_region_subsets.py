"""val-left and val-right from label maps and from CityPersons boxes."""

import json

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmseg.datasets import BaseSegDataset, CityscapesDataset
from planted_segmenter import write_images

from mmposenc.mm.datasets.camvid import CamVid
from mmposenc.mm.datasets.region_subsets import subsets_from_boxes, subsets_from_labels


def label_maps(root, *scenes, width=10, other=3, thing=9):
    """Label maps of two rows, from the columns that hold a class; what a data set needs to know of them."""
    labels = np.full((len(scenes), 2, width), other, np.uint8)
    for each, columns in zip(labels, scenes, strict=True):
        each[:, columns] = thing
    stock = write_images(root, np.zeros((*labels.shape, 3), np.uint8), labels, [])
    return {key: stock[key] for key in ('data_root', 'data_prefix', 'img_suffix')}


def test_subsets_from_label_maps(tmp_path):
    dataset = CamVid(**label_maps(tmp_path, [0, 4], [5], [2, 7], [], [0, 1, 2, 9], [4]))
    assert subsets_from_labels(dataset) == {'left': ['0', '5'], 'right': ['1']}
    assert subsets_from_labels(dataset, tolerance=0.25) == {'left': ['0', '4', '5'], 'right': ['1']}


def test_names_in_subfolders_as_cityscapes_has_them(tmp_path):
    person = CityscapesDataset.METAINFO['classes'].index('person')
    label_maps(tmp_path, [0], [3], width=4, thing=person)
    for kind, suffix in (('images', 'leftImg8bit'), ('labels', 'gtFine_labelTrainIds')):
        (tmp_path / kind / 'ulm').mkdir()
        for index, name in enumerate(('left', 'right')):
            (tmp_path / kind / f'{index}.png').rename(tmp_path / kind / 'ulm' / f'{name}_{suffix}.png')
    dataset = CityscapesDataset(data_root=str(tmp_path), data_prefix={'img_path': 'images', 'seg_map_path': 'labels'})
    assert subsets_from_labels(dataset, 'person') == {'left': ['ulm/left'], 'right': ['ulm/right']}


def test_reduced_labels_are_read_as_the_data_set_reads_them(tmp_path):
    options = label_maps(tmp_path, [0], [1], width=2, other=1, thing=2)
    dataset = BaseSegDataset(metainfo={'classes': ('ground', 'thing')}, reduce_zero_label=True, **options)
    assert subsets_from_labels(dataset, 'thing') == {'left': ['0'], 'right': ['1']}


def write_boxes(folder, name, *boxes):
    (folder / 'ulm').mkdir(exist_ok=True)
    objects = [{'label': label, 'bbox': box, 'bboxVis': [0, 0, 1, 1]} for label, *box in boxes]
    text = json.dumps({'imgHeight': 50, 'imgWidth': 100, 'objects': objects})
    (folder / 'ulm' / f'{name}_gtBboxCityPersons.json').write_text(text)


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
    dataset = CamVid(**label_maps(tmp_path, [0], [4]))
    with pytest.raises(TypeError, match='must be a BaseSegDataset of mmseg, got ConcatDataset'):
        subsets_from_labels(ConcatDataset([dataset, dataset]))
    with pytest.raises(FileNotFoundError, match=r'no \*_gtBboxCityPersons\.json below'):
        subsets_from_boxes(tmp_path)
