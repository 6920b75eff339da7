"""Random images in CIFAR's form, as whole batches and through mmpretrain's stock pipeline, for the benchmarks here."""

import numpy as np
import torch
from mmengine.registry import DATASETS
from mmpretrain import datasets

from mmposenc.mm.datasets.in_memory import InMemoryImages

MEAN, STD = [129.304, 124.070, 112.434], [68.170, 65.392, 70.418]
_RNG = np.random.default_rng(0)
IMAGES = _RNG.integers(0, 256, (50000, 32, 32, 3), dtype=np.uint8)
LABELS = _RNG.integers(0, 100, 50000)

PREPROCESSOR = dict(type='mmposenc.BatchPreprocessor', mean=MEAN, std=STD)
TWO_VIEWS = [
    dict(type='mmposenc.BatchRandomFlip'),
    dict(type='mmposenc.BatchTwoViews', transforms=[dict(type='mmposenc.BatchRandomShift', max_shift=8)]),
]
STOCK_TWO_VIEWS = [
    dict(type='RandomFlip', prob=0.5),
    dict(type='MultiView', num_views=2, transforms=[[dict(type='RandomCrop', crop_size=32, padding=8)]]),
    dict(type='PackInputs'),
]


@DATASETS.register_module()
class RandomImages(InMemoryImages):
    """The random images as whole batches."""

    def __init__(self, num_images: int = 50000) -> None:
        images = torch.from_numpy(IMAGES[:num_images]).permute(0, 3, 1, 2).contiguous()
        super().__init__(images, torch.from_numpy(LABELS[:num_images]), classes=[str(k) for k in range(100)])


@DATASETS.register_module()
class StockRandomImages(datasets.CIFAR100):
    """mmpretrain's CIFAR100 with the random images in place of its files."""

    def __init__(self, num_images: int = 50000, **kwargs) -> None:
        self.num_images = num_images
        super().__init__(data_root='unused', split='train', **kwargs)

    def load_data_list(self) -> list[dict]:
        n = self.num_images
        return [{'img': image, 'gt_label': int(label)} for image, label in zip(IMAGES[:n], LABELS[:n], strict=True)]
