"""Data sets whose splits live in memory, so that a batch is one gather, and those of the position studies.

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021.
"""

from .camvid import CamVid
from .cifar import CIFAR10, CIFAR100
from .digit_scenes import DigitScenes
from .digits import Digits
from .grid_cifar import GridCIFAR10, GridCIFAR100, GridDigits
from .in_memory_images import InMemoryImages
from .pass_batch import pass_batch
from .place_on_grid import PlaceOnGrid
from .region_subsets import subsets_from_boxes, subsets_from_labels, write_list

__all__ = [
    'CIFAR10',
    'CIFAR100',
    'CamVid',
    'DigitScenes',
    'Digits',
    'GridCIFAR10',
    'GridCIFAR100',
    'GridDigits',
    'InMemoryImages',
    'PlaceOnGrid',
    'pass_batch',
    'subsets_from_boxes',
    'subsets_from_labels',
    'write_list',
]
