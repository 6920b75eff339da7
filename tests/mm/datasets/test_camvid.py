"""CamVid on a folder of its layout, made here."""

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from planted_segmenter import write_images

from mmposenc.mm.datasets.camvid import CamVid


@pytest.fixture
def build(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4).repeat(2, 0)
    stock = write_images(tmp_path, np.full((2, 3, 4, 3), 10, np.uint8), labels, [])
    own = {'type': 'mmposenc.CamVid', **{key: stock[key] for key in ('data_root', 'data_prefix', 'pipeline')}}

    def build(**kwargs):
        with DefaultScope.overwrite_default_scope('mmseg'):
            return DATASETS.build({**own, **kwargs})

    return build


def labels_of(dataset):
    return dataset[0]['data_samples'].gt_sem_seg.data[0].tolist()


def test_labels_are_the_files_and_void_is_255(build):
    dataset = build()
    assert (type(dataset), len(dataset)) == (CamVid, 2)
    assert len({tuple(colour) for colour in dataset.metainfo['palette']}) == len(dataset.metainfo['classes']) == 11
    assert dataset[0]['inputs'].shape == (3, 3, 4)
    assert labels_of(dataset) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 255]]


def test_a_choice_of_classes_and_of_images(build, tmp_path):
    (tmp_path / 'list.txt').write_text('1\n')
    dataset = build(metainfo={'classes': ('car', 'pedestrian')}, ann_file='list.txt')
    assert labels_of(dataset) == [[255] * 4, [255] * 4, [0, 1, 255, 255]]
    assert dataset.metainfo['palette'] == [[64, 0, 128], [64, 64, 0]]
    assert (len(dataset), dataset.get_data_info(0)['img_path']) == (1, str(tmp_path / 'images/1.png'))


@pytest.mark.parametrize('typed, message', [
    ({'data_prefix': {'img_path': 'test'}}, r'no folder .*test: put CamVid there as \{train,val,test\}'),
    ({'img_suffix': '.jpg'}, r'no image \*\.jpg in .*images: put CamVid there'),
    ({'ann_file': 'left.txt'}, r'no ann_file .*left\.txt'),
    ({'seg_map_suffix': '_L.png'}, r'2 of 2 files are missing, first .*labels/0_L\.png'),
    ({'reduce_zero_label': True}, "reduce_zero_label must be False for CamVid, whose label 0 is 'sky'"),
])  # fmt: skip
def test_what_is_not_there_or_does_not_fit_is_named(build, typed, message):
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        build(**typed)


@pytest.mark.parametrize('labels, message', [
    (np.full((3, 4), 12, np.uint8), r'0\.png must be a map \(H, W\) of labels 0 to 11, got \(3, 4\) .* up to 12'),
    (np.full((3, 4, 3), 64, np.uint8), r'got \(3, 4, 3\) with values up to 64; use the 11-class version'),
])  # fmt: skip
def test_label_maps_of_another_version_of_camvid(build, tmp_path, labels, message):
    cv2.imwrite(str(tmp_path / 'labels' / '0.png'), labels)
    with pytest.raises(ValueError, match=message):
        build()
