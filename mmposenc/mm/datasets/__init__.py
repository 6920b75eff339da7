"""Data sets whose splits live in memory, so that a batch is one gather, and those of the position studies.

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021.
"""

from mmposenc.mm.datasets.camvid import CamVid, CamVidBoxes
from mmposenc.mm.datasets.cifar import CIFAR10, CIFAR100
from mmposenc.mm.datasets.digit_scenes import DigitSceneBoxes, DigitScenes
from mmposenc.mm.datasets.grid_cifar import GridCIFAR10, GridDigits
from mmposenc.mm.datasets.in_memory import Digits, InMemoryImages, pass_batch
from mmposenc.mm.datasets.region_subsets import subsets_from_boxes, subsets_from_labels, write_list

__all__ = [
    'CIFAR10', 'CIFAR100', 'CamVid', 'CamVidBoxes', 'DigitSceneBoxes', 'DigitScenes', 'Digits', 'GridCIFAR10',
    'GridDigits', 'InMemoryImages', 'pass_batch', 'subsets_from_boxes', 'subsets_from_labels', 'write_list',
]  # fmt: skip
