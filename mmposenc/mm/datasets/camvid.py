"""CamVid driving scenes as a data set of mmseg."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmseg.datasets import BaseSegDataset

from mmposenc.registry import DATASETS

VOID = 11
COLOURS = {
    'sky': [128, 128, 128],
    'building': [128, 0, 0],
    'pole': [192, 192, 128],
    'road': [128, 64, 128],
    'pavement': [60, 40, 222],
    'tree': [128, 128, 0],
    'sign': [192, 128, 128],
    'fence': [64, 64, 128],
    'car': [64, 0, 128],
    'pedestrian': [64, 64, 0],
    'bicyclist': [0, 128, 192],
}


@DATASETS.register_module()
class CamVid(BaseSegDataset):
    """CamVid with 11 classes and void, 480x360 px (ours; stands beside the paper's Cityscapes of Sec. 4.2).

    Reads the layout in which the set is usually passed on, `{train,val,test}/*.png` and
    `{train,val,test}annot/*.png` (367, 101 and 233 images; labels 0-10, and 11 for void). Void becomes mmseg's 255
    while labels are loaded, so that losses and metrics need no setting of their own.

    Args:
        img_suffix: Ending of the images' names.
        seg_map_suffix: Ending of the label maps' names.
        **kwargs: As for mmseg's `BaseSegDataset`, which rejects what it does not know. `ann_file` takes a list of
            names, such as those of `tools/make_region_lists.py`.

    Raises:
        FileNotFoundError: If a folder, the `ann_file`, an image or a label map is missing.

    Example:
        >>> train = dict(type='mmposenc.CamVid', data_root='data/camvid',
        ...              data_prefix=dict(img_path='train', seg_map_path='trainannot'), pipeline=[])
    """

    METAINFO = dict(classes=tuple(COLOURS), palette=list(COLOURS.values()))

    def __init__(self, img_suffix: str = '.png', seg_map_suffix: str = '.png', **kwargs: Any) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """Labels in the files to labels in training: as the host's, and void to 255."""
        return {**(super().get_label_map(new_classes) or {}), VOID: 255}

    def load_data_list(self) -> list[dict]:
        """List the images, and see that each has its label map."""
        images, label_maps = (self.data_prefix.get(key) for key in ('img_path', 'seg_map_path'))
        advice = (
            'put CamVid there as {train,val,test}/*.png and {train,val,test}annot/*.png, '
            'or set data_root and data_prefix'
        )
        for folder in (images, label_maps):
            if folder and not osp.isdir(folder):
                raise FileNotFoundError(f'no folder {folder}: {advice}')
        if self.ann_file and not osp.exists(self.ann_file):
            raise FileNotFoundError(f'no ann_file {self.ann_file}: tools/make_region_lists.py writes such lists')
        samples = super().load_data_list()
        if not samples:
            raise FileNotFoundError(f'no image *{self.img_suffix} in {images}: {advice}')
        for key in ('img_path', 'seg_map_path'):
            missing = [sample[key] for sample in samples if key in sample and not osp.isfile(sample[key])]
            if missing:
                raise FileNotFoundError(f'{len(missing)} of {len(samples)} files are missing, first {missing[0]}')
        return samples
