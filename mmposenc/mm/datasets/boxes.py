"""Scenes with boxes, for the detectors of mmdet: those of digits, and CamVid's pedestrians."""

from typing import Any

import cv2
import mmcv
import numpy as np

from mmposenc.mm.datasets.camvid import COLOURS, CamVid
from mmposenc.mm.datasets.digit_scenes import DigitScenes
from mmposenc.registry import DATASETS


@DATASETS.register_module()
class DigitSceneBoxes(DigitScenes):
    """The scenes of `DigitScenes` with the boxes of their digits: pedestrians, cars and signs.

    Scenes live in memory; the pipeline is mmdet's without its loading of images.

    Args:
        **kwargs: As for `DigitScenes`.

    Example:
        >>> train = dict(type='mmposenc.DigitSceneBoxes', split='train', pipeline=[
        ...     dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs')])
    """

    METAINFO = dict(classes=('pedestrian', 'car', 'sign'))

    def load_data_list(self) -> list[dict]:
        names, classes = list(DigitScenes.METAINFO['classes']), self.METAINFO['classes']
        scenes = super().load_data_list()
        for number, scene in enumerate(scenes):
            scene |= dict(img_id=number, instances=scene.pop('digits'))
            for instance in scene['instances']:
                instance['bbox_label'] = classes.index(names[instance['bbox_label']])
        return scenes


@DATASETS.register_module()
class CamVidBoxes(CamVid):
    """CamVid with a box around each connected component of the label 'pedestrian'.

    The label maps do not tell pedestrians apart: those who touch share a box, and one behind a pole may have two.
    Components that are too small are ignored, neither objects nor errors.

    Args:
        min_area: Pixels of the smallest component that counts.
        **kwargs: As for `CamVid`.

    Example:
        >>> train = dict(type='mmposenc.CamVidBoxes', data_root='data/camvid', pipeline=[],
        ...              data_prefix=dict(img_path='train', seg_map_path='trainannot'))
    """

    METAINFO = dict(classes=('pedestrian',))

    def __init__(self, min_area: int = 100, **kwargs: Any) -> None:
        self.min_area = min_area
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        infos = super().load_data_list()
        for number, info in enumerate(infos):
            labels = mmcv.imread(info['seg_map_path'], 'unchanged')
            info['instances'] = component_boxes(labels == list(COLOURS).index('pedestrian'), self.min_area)
            info |= dict(img_id=number, height=labels.shape[0], width=labels.shape[1])
        return infos


def component_boxes(mask: np.ndarray, min_area: int) -> list[dict]:
    """The 8-connected components of a mask (H, W), as instances of mmdet; those of fewer pixels are to be ignored."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [
        dict(bbox=[x, y, x + across, y + high], bbox_label=0, ignore_flag=int(area < min_area))
        for x, y, across, high, area in stats[1:].tolist()
    ]
