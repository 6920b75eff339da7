"""Boxes of digit scenes and of CamVid's pedestrians."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmposenc.mm.datasets import CamVidBoxes, DigitSceneBoxes
from mmposenc.mm.datasets.camvid import component_boxes
from mmposenc.mm.datasets.digit_scenes import CAR, PEDESTRIAN, SIGN
from mmposenc.mm.datasets.region_subsets import listed_positions


def test_a_box_bounds_the_pixels_of_its_digit() -> None:
    scenes = DigitSceneBoxes('val', num_scenes=30)
    assert scenes.metainfo['classes'] == ('pedestrian', 'car', 'sign')
    alone = 0
    for position in range(len(scenes)):
        info = scenes.get_data_info(position)
        assert info['img_id'] == position
        assert 2 <= len(info['instances']) <= 4
        for number, label in enumerate((PEDESTRIAN, CAR, SIGN)):
            rows, columns = np.nonzero(info['gt_seg_map'] == label)
            boxes = [box['bbox'] for box in info['instances'] if box['bbox_label'] == number]
            inside = np.zeros(len(rows), bool)
            for left, top, right, bottom in boxes:
                inside |= (left <= columns) & (columns < right) & (top <= rows) & (rows < bottom)
            assert inside.all()
            if len(info['instances']) == 2 and len(boxes) == 1:
                a, b = (np.array(box['bbox']) for box in info['instances'])
                if a[2] <= b[0] or b[2] <= a[0]:  # neither covers the other
                    alone += 1
                    assert boxes[0] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert alone > 3


def test_positions_of_listed_images(tmp_path: Path) -> None:
    path = tmp_path / 'list.txt'
    path.write_text('val_000004\n\nval_000002\n')
    for indices, positions in ((None, [2, 4]), ([4, 0, 2], [0, 2])):
        assert listed_positions(DigitSceneBoxes('val', num_scenes=5, indices=indices), str(path)) == positions
    with pytest.raises(ValueError, match='must list images of DigitSceneBoxes such as val_000000, got val_000004'):
        listed_positions(DigitSceneBoxes('val', num_scenes=4), str(path))


def test_components_by_hand() -> None:
    mask = np.zeros((10, 12), bool)
    mask[1:5, 2:4] = True
    mask[5, 4] = True  # touches at a corner
    mask[8, 9:11] = True
    big, small = component_boxes(mask, min_area=3)
    assert big == dict(bbox=[2, 1, 5, 6], bbox_label=0, ignore_flag=0)
    assert small == dict(bbox=[9, 8, 11, 9], bbox_label=0, ignore_flag=1)
    assert component_boxes(np.zeros((4, 4), bool), 1) == []


def test_boxes_of_camvid(tmp_path: Path) -> None:
    labels = np.full((20, 30), 3, np.uint8)
    labels[2:8, 4:7] = 9  # pedestrian
    labels[10:12, 20:22] = 10  # bicyclist
    for folder, pixels in (('test', np.zeros((20, 30, 3), np.uint8)), ('testannot', labels)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / 'a.png'), pixels)
    prefix = dict(img_path='test', seg_map_path='testannot')
    scenes = CamVidBoxes(min_area=10, data_root=str(tmp_path), data_prefix=prefix, pipeline=[])
    info = scenes.get_data_info(0)
    assert scenes.metainfo['classes'] == ('pedestrian',)
    assert (info['instances'], info['height'], info['width']) == (
        [dict(bbox=[4, 2, 7, 8], bbox_label=0, ignore_flag=0)],
        20,
        30,
    )
