"""Street scenes composed of handwritten digits: data for segmenters and detectors without a download."""

import os.path as osp
from collections.abc import Callable, Sequence
from typing import Any

import mmcv
import mmengine
import numpy as np
from mmseg.datasets import BaseSegDataset

from mmposenc.mm.datasets.in_memory import Digits
from mmposenc.registry import DATASETS

SKY, BUILDING, TREE, ROAD, PAVEMENT, PEDESTRIAN, CAR, SIGN = range(8)  # in the order of COLOURS
# fmt: off
COLOURS = {
    'sky': [70, 130, 180], 'building': [70, 70, 70], 'tree': [107, 142, 35], 'road': [128, 64, 128],
    'pavement': [244, 35, 232], 'pedestrian': [220, 20, 60], 'car': [0, 0, 142], 'sign': [220, 220, 0],
}
# fmt: on
CLASS_OF_DIGIT = (CAR, PEDESTRIAN, SIGN, SIGN, PEDESTRIAN, SIGN, CAR, PEDESTRIAN, CAR, CAR)
BGR_OF_CLASS = {PEDESTRIAN: (110, 110, 200), CAR: (200, 110, 110), SIGN: (90, 200, 200)}
DEFAULT_NUM_SCENES = {'train': 600, 'val': 100}


@DATASETS.register_module()
class DigitScenes(BaseSegDataset):
    """Street scenes in which handwritten digits stand for road users; an offline stand-in for the data of Sec. 4.2.

    The background depends on position as a street does: sky above, road and pavement below, and blocks of the same
    texture that are `building` on the left and `tree` on the right, so that only position tells them apart. The digits
    of scikit-learn (different ones in 'val' and 'train') are `pedestrian` (1, 4, 7), `car` (0, 6, 8, 9) and `sign`
    (2, 3, 5), in colours that differ by class and vary.

    Scene i of a split depends on the seed and i alone. Scenes live in memory, in BGR as mmseg loads images; the
    pipeline is mmseg's without its loading transforms.

    Args:
        split: 'train' or 'val'.
        num_scenes: Number of scenes. Default: 600 of train, 100 of val.
        image_size: Height and width in px, each at least 32.
        symmetric: Give both sides pavement, and let a block stand anywhere in its half, not at the border: then no
            neighbour and no edge tells building from tree, only position.
        ann_file: List of scene names (`val_000012`) to keep, as `mmposenc region-lists` writes it, in `data_root`.
        pipeline: Transforms of mmseg; the last is `PackSegInputs`.
        **kwargs: `indices`, `test_mode`, `lazy_init` and others of mmseg's data sets.
    """

    METAINFO = dict(classes=tuple(COLOURS), palette=list(COLOURS.values()))

    def __init__(
        self,
        split: str = 'train',
        num_scenes: int | None = None,
        image_size: tuple[int, int] = (64, 128),
        seed: int = 0,
        symmetric: bool = False,
        ann_file: str = '',
        data_root: str | None = None,
        pipeline: Sequence[dict | Callable] = (),
        **kwargs: Any,
    ) -> None:
        if split not in DEFAULT_NUM_SCENES:
            raise ValueError(f'split must be one of {list(DEFAULT_NUM_SCENES)}, got {split!r}')
        self.split = split
        self.num_scenes = DEFAULT_NUM_SCENES[split] if num_scenes is None else num_scenes
        if self.num_scenes < 1:
            raise ValueError(f'num_scenes must be at least 1, got {num_scenes}')
        if len(image_size) != 2 or min(image_size) < 32:
            raise ValueError(f'image_size must be (height, width), each at least 32 px, got {tuple(image_size)}')
        classes = (kwargs.get('metainfo') or {}).get('classes', self.METAINFO['classes'])
        if kwargs.get('reduce_zero_label') or tuple(classes) != self.METAINFO['classes']:
            raise ValueError('scenes are composed with labels of their own: leave out reduce_zero_label and classes')
        self.image_size = tuple(image_size)
        self.seed, self.symmetric = seed, symmetric
        super().__init__(ann_file, '.png', data_root=data_root, pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Compose the scenes, all or those that `ann_file` lists."""
        names = {f'{self.split}_{number:06d}': number for number in range(self.num_scenes)}
        listed = list(names)
        if self.ann_file and not osp.isfile(self.ann_file):
            raise FileNotFoundError(f'no ann_file {self.ann_file}: mmposenc region-lists writes such lists')
        if self.ann_file:
            listed = [line.strip() for line in mmengine.list_from_file(self.ann_file) if line.strip()]
            if not listed or not names.keys() >= set(listed):
                got = next((name for name in listed if name not in names), 'an empty file')
                raise ValueError(f'{self.ann_file} must list scenes {min(names)} to {max(names)}, got {got}')
        digits = Digits('train' if self.split == 'train' else 'test')
        images, categories = digits.images[:, 0, 8:24:2, 8:24:2].numpy(), digits.labels.numpy()
        scenes = []
        for name in listed:
            rng = np.random.default_rng((self.seed, list(DEFAULT_NUM_SCENES).index(self.split), names[name]))
            image, labels, boxes = compose_scene(rng, images, categories, *self.image_size, symmetric=self.symmetric)
            path = osp.join(self.data_prefix['img_path'], name + self.img_suffix)
            scene: dict[str, Any] = dict(img=image, gt_seg_map=labels, digits=boxes, img_path=path)
            scene |= dict(img_shape=self.image_size, ori_shape=self.image_size, seg_fields=['gt_seg_map'])
            scenes.append({**scene, 'label_map': None, 'reduce_zero_label': False})
        return scenes


@DATASETS.register_module()
class DigitSceneBoxes(DigitScenes):
    """The scenes of `DigitScenes`, with its arguments and the boxes of pedestrians, cars and signs.

    The pipeline is mmdet's without its loading of images: `LoadAnnotations(with_bbox=True)`, ..., `PackDetInputs`.
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


def compose_scene(
    rng: np.random.Generator, digits: np.ndarray, categories: np.ndarray, height: int, width: int, *, symmetric: bool
) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Compose one scene from uint8 digits (N, 8, 8) and what they are (N,).

    Returns a uint8 BGR image, its label map, and the label and box of each digit, also of what others cover.
    """
    instances = []
    image, labels = _compose_street(rng, height, width, symmetric)
    feet = np.sort(rng.uniform(0.55, 1.0, size=rng.integers(2, 5)))  # The nearest is drawn last.
    for foot in feet:
        chosen = rng.integers(len(digits))
        label = CLASS_OF_DIGIT[int(categories[chosen])]
        size = round(min(height, width) * rng.uniform(0.34, 0.48))
        mask = mmcv.imresize(digits[chosen], (size, size), interpolation='bilinear') > 64
        mask = mask[:, mask.any(0)]
        bottom = round(height * (foot - 0.25 if label == SIGN else foot))
        top, left = max(bottom - size, 0), rng.integers(width - mask.shape[1] + 1)
        box = (slice(top, top + size), slice(left, left + mask.shape[1]))
        image[box][mask] = BGR_OF_CLASS[label] + rng.uniform(-50, 50, size=3)
        labels[box][mask] = label
        rows = np.flatnonzero(mask.any(1))
        bounds = [left, top + rows[0], left + mask.shape[1], top + rows[-1] + 1]
        instances.append(dict(bbox=[float(bound) for bound in bounds], bbox_label=label, ignore_flag=0))
    noisy = image + rng.normal(0, 8, size=image.shape)
    return noisy.clip(0, 255).round().astype(np.uint8), labels, instances


def _compose_street(
    rng: np.random.Generator, height: int, width: int, symmetric: bool
) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    right = x[:, ::-1] if symmetric else 1 - x
    side = np.minimum(x, right) if symmetric else x
    horizon = rng.uniform(0.45, 0.55)
    labels = np.where(y < horizon, SKY, ROAD).astype(np.uint8)
    kerb = rng.uniform(0.3, 0.4) - 0.3 * (y - horizon)
    labels[(y >= horizon) & (side < (kerb / 2 if symmetric else kerb))] = PAVEMENT
    for label, beside in ((BUILDING, x), (TREE, right)):
        if rng.random() < 0.85:
            tall, wide = rng.uniform(0.15, 0.4), rng.uniform(0.2, 0.45)
            begin = rng.uniform(0, 0.45 - wide) if symmetric else 0
            block = (y < horizon) & (y > horizon - tall) & (beside >= begin) & (beside < begin + wide)
            labels[block] = label
    grey = np.select(
        [labels == SKY, labels == ROAD, labels == PAVEMENT],
        [190 - 80 * y, 60 + 60 * y, 75 + 60 * y],
        default=100 + 15 * np.sin(40 * side) * np.sin(40 * y),
    )
    tint = rng.uniform(0.9, 1.1, size=3)
    return grey[:, :, None] * tint, labels
