"""CamVid on a folder of its layout, made here."""

import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmposenc.mm.datasets.camvid import CamVid

PIPELINE = [{'type': 'LoadImageFromFile'}, {'type': 'LoadAnnotations'}, {'type': 'PackSegInputs'}]


@pytest.fixture
def root(tmp_path):
    for split in ('train', 'val'):
        for folder, pixels in ((split, np.full((3, 4, 3), 10)), (f'{split}annot', np.arange(12).reshape(3, 4))):
            (tmp_path / folder).mkdir()
            for name in ('b', 'a'):
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / f'{name}.png')
    return tmp_path


def build(root, split='val', **kwargs):
    prefix = {'img_path': split, 'seg_map_path': f'{split}annot'}
    config = {'type': 'mmposenc.CamVid', 'data_root': str(root), 'data_prefix': prefix, 'pipeline': PIPELINE, **kwargs}
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(config)


def labels_of(dataset, position=0):
    return dataset[position]['data_samples'].gt_sem_seg.data[0].tolist()


def test_labels_are_the_files_and_void_is_255(root):
    dataset = build(root)
    assert (type(dataset), len(dataset)) == (CamVid, 2)
    assert len({tuple(colour) for colour in dataset.metainfo['palette']}) == len(dataset.metainfo['classes']) == 11
    assert dataset[0]['inputs'].shape == (3, 3, 4)
    assert labels_of(dataset) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 255]]


def test_a_choice_of_classes_and_of_images(root):
    (root / 'list.txt').write_text('b\n')
    dataset = build(root, metainfo={'classes': ('car', 'pedestrian')}, ann_file='list.txt')
    assert labels_of(dataset) == [[255] * 4, [255] * 4, [0, 1, 255, 255]]
    assert dataset.metainfo['palette'] == [[64, 0, 128], [64, 64, 0]]
    assert [info['img_path'] for info in map(dataset.get_data_info, range(len(dataset)))] == [str(root / 'val/b.png')]


@pytest.mark.parametrize(
    'typed, message',
    [
        ({'split': 'test'}, r'no folder .*test: put CamVid there as \{train,val,test\}'),
        ({'img_suffix': '.jpg'}, r'no image \*\.jpg in .*val: put CamVid there'),
        ({'ann_file': 'left.txt'}, r'no ann_file .*left\.txt'),
        ({'seg_map_suffix': '_L.png'}, r'2 of 2 files are missing, first .*valannot/a_L\.png'),
        ({'reduce_zero_label': True}, "reduce_zero_label must be False for CamVid, whose label 0 is 'sky'"),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_named(root, typed, message):
    with pytest.raises((FileNotFoundError, TypeError, ValueError), match=message):
        build(root, **typed)


@pytest.mark.parametrize(
    'labels, message',
    [
        (np.full((3, 4), 12, np.uint8), r'a\.png must be a map \(H, W\) of labels 0 to 11, got \(3, 4\) .* up to 12'),
        (np.full((3, 4, 3), 64, np.uint8), r'got \(3, 4, 3\) with values up to 64; use the 11-class version'),
    ],
)
def test_label_maps_of_another_version_of_camvid(root, labels, message):
    Image.fromarray(labels).save(root / 'valannot' / 'a.png')
    with pytest.raises(ValueError, match=message):
        build(root)
