"""Regions of an image, and what a network loses in each (Sec. 4.2.2 and 4.2.3).

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021.
"""

from mmposenc.regions.iou import MeanIoU, confusion_margins, margin_figures, segmentation_figures
from mmposenc.regions.sides import box_halves, halves, side
from mmposenc.regions.strips import RegionStrips, count_strips

__all__ = [
    'MeanIoU',
    'RegionStrips',
    'box_halves',
    'confusion_margins',
    'count_strips',
    'halves',
    'margin_figures',
    'segmentation_figures',
    'side',
]
