"""Boxes of digit scenes and of CamVid's pedestrians."""

from pathlib import Path

import numpy as np
import pytest
from planted_segmenter import write_images

from mmposenc.mm.datasets import CamVidBoxes, DigitSceneBoxes
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


def test_boxes_of_camvid_are_its_connected_pedestrians(tmp_path: Path) -> None:
    labels = np.full((2, 10, 12), 3, np.uint8)
    labels[0, 1:5, 2:4] = labels[0, 5, 4] = labels[0, 8, 9:11] = 9  # pedestrians; two parts touch at a corner
    labels[0, 7, 2:6] = 10  # bicyclist
    write_images(tmp_path, np.zeros((2, 10, 12, 3), np.uint8), labels, [])
    prefix = dict(img_path='images', seg_map_path='labels')
    scenes = CamVidBoxes(min_area=3, data_root=str(tmp_path), data_prefix=prefix, pipeline=[])
    assert scenes.metainfo['classes'] == ('pedestrian',)
    info, empty = scenes.get_data_info(0), scenes.get_data_info(1)
    big, small = dict(bbox=[2, 1, 5, 6], ignore_flag=0), dict(bbox=[9, 8, 11, 9], ignore_flag=1)
    assert info['instances'] == [dict(bbox_label=0, **big), dict(bbox_label=0, **small)]
    assert (info['height'], info['width'], empty['instances']) == (10, 12, [])
