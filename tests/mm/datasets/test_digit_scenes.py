"""DigitScenes: what lies where, determinism, and the way into mmseg."""

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, DefaultScope

from mmposenc.mm.datasets.digit_scenes import DigitScenes

SKY, BUILDING, TREE, ROAD, PAVEMENT, PEDESTRIAN, CAR, SIGN = range(8)


def infos(dataset):
    return [dataset.get_data_info(position) for position in range(len(dataset))]


@pytest.fixture(scope='module')
def scenes():
    return infos(DigitScenes('val', num_scenes=60))


@pytest.fixture
def labels(scenes):
    return np.stack([scene['gt_seg_map'] for scene in scenes])


def test_background_depends_on_position(labels):
    assert (labels[:, :8] == SKY).mean() > 0.75
    assert not np.isin(labels[:, -16:], (SKY, BUILDING, TREE)).any()
    building, tree = ((labels == label).any((0, 1)).nonzero()[0] for label in (BUILDING, TREE))
    assert building.max() < 64 < tree.min()
    assert building.min() == 0
    assert tree.max() == 127
    assert (labels == PAVEMENT).any((0, 1)).nonzero()[0].max() < 64


def test_building_and_tree_look_alike(scenes):
    # Without the digits and where both are: their mean colour differs less than the noise.
    both = [scene for scene in scenes if {BUILDING, TREE} <= set(np.unique(scene['gt_seg_map']))]
    building, tree, sky = (
        np.array([scene['img'][scene['gt_seg_map'] == label].mean() for scene in both])
        for label in (BUILDING, TREE, SKY)
    )
    assert abs((building - tree).mean()) < 2
    assert (sky - tree).mean() > 30


def test_only_position_tells_the_halves_of_symmetric_scenes_apart():
    scenes = infos(DigitScenes('val', num_scenes=60, symmetric=True))
    images, labels = (np.stack([scene[key] for scene in scenes]) for key in ('img', 'gt_seg_map'))
    mirrored = labels[..., ::-1]
    street = (labels < PEDESTRIAN) & (mirrored < PEDESTRIAN)
    assert np.array_equal((labels == PAVEMENT)[street], (mirrored == PAVEMENT)[street])
    assert not (labels == BUILDING)[..., 64:].any()
    assert not (mirrored == TREE)[..., 64:].any()
    for blocks in (labels == BUILDING, mirrored == TREE):
        begins = [block.any(0).argmax() for block in blocks if block.any()]
        assert np.quantile(begins, [0.25, 0.75]) == pytest.approx([3, 16], abs=4)  # px from the border
    # Even the texture is mirrored: all that is left is the noise of two pixels.
    twins = (labels == BUILDING) & (mirrored == TREE)
    assert (images[twins].astype(float) - images[:, :, ::-1][twins]).std() == pytest.approx(8 * 2**0.5, rel=0.03)


def test_every_class_is_there_and_pedestrians_are_on_either_side(labels):
    share = np.bincount(labels.ravel(), minlength=8) / labels.size
    assert share.min() > 0.02
    left, right = ((half == PEDESTRIAN).any((1, 2)) for half in (labels[..., :64], labels[..., 64:]))
    assert min((left & ~right).sum(), (right & ~left).sum(), (~left & ~right).sum()) >= 5


def test_a_scene_depends_on_seed_split_and_number_alone():
    few, many = infos(DigitScenes('val', num_scenes=3)), infos(DigitScenes('val', num_scenes=5))
    for one, other in zip(few, many[:3], strict=True):
        assert np.array_equal(one['img'], other['img'])
        assert np.array_equal(one['gt_seg_map'], other['gt_seg_map'])
    assert not np.array_equal(few[0]['img'], few[1]['img'])
    for different in (DigitScenes('val', num_scenes=1, seed=1), DigitScenes('train', num_scenes=1)):
        assert not np.array_equal(few[0]['img'], different.get_data_info(0)['img'])


def test_the_way_into_mmseg():
    with DefaultScope.overwrite_default_scope('mmseg'):
        pack, flip = {'type': 'PackSegInputs'}, {'type': 'RandomFlip', 'prob': 1.0}
        sample, flipped = (
            DATASETS.build({'type': 'mmposenc.DigitScenes', 'num_scenes': 1, 'pipeline': pipeline})[0]
            for pipeline in ([pack], [flip, pack])
        )
    labels = sample['data_samples'].gt_sem_seg.data
    assert (labels.shape, labels.dtype) == ((1, 64, 128), torch.int64)
    assert flipped['inputs'].flip(-1).equal(sample['inputs'])
    assert flipped['data_samples'].gt_sem_seg.data.flip(-1).equal(labels)
    assert sample['data_samples'].metainfo['ori_shape'] == (64, 128)


def test_a_list_chooses_scenes(tmp_path):
    (tmp_path / 'left.txt').write_text('val_000003\nval_000001\n')
    dataset = DigitScenes('val', num_scenes=5, ann_file='left.txt', data_root=str(tmp_path))
    whole = infos(DigitScenes('val', num_scenes=5))
    for info, number in zip(infos(dataset), (3, 1), strict=True):
        assert np.array_equal(info['img'], whole[number]['img'])
    assert len(DigitScenes('val', num_scenes=5, indices=2)) == 2


@pytest.mark.parametrize('typed, text, message', [
    ({'split': 'test'}, '', r"split must be one of \['train', 'val'\], got 'test'"),
    ({'num_scenes': 0}, '', 'num_scenes must be at least 1, got 0'),
    ({'image_size': (16, 64)}, '', r'image_size must be \(height, width\), each at least 32 px, got \(16, 64\)'),
    ({'reduce_zero_label': True}, '', 'leave out reduce_zero_label and classes'),
    ({'metainfo': {'classes': ('car', 'tree')}}, '', 'leave out reduce_zero_label and classes'),
    ({'ann_file': 'none.txt'}, '', 'no ann_file'),
    ({'ann_file': 'list.txt'}, 'val_000005\n', 'scenes val_000000 to val_000004, got val_000005'),
    ({'ann_file': 'list.txt'}, '\n', 'got an empty file'),
])  # fmt: skip
def test_bad_input(tmp_path, typed, text, message):
    (tmp_path / 'list.txt').write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        DigitScenes(**{'split': 'val', 'num_scenes': 5, 'data_root': str(tmp_path), **typed})
