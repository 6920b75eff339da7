"""Metrics: segmentation figures by region (Sec. 4.2.2) and shift consistency (Sec. 4.1)."""

from .confusion_margins import confusion_margins, margin_figures
from .random_control import RandomControl, random_control
from .readout_accuracy import ReadoutAccuracyMetric
from .region_attack import RegionAttack, region_attack
from .region_iou import RegionIoUMetric
from .region_strips import RegionStrips
from .shift_consistency import PROTOCOLS, ShiftConsistencyMetric, check_protocols, draw_shifts
from .strip_confusion import count_strips, segmentation_figures

__all__ = [
    'PROTOCOLS',
    'RandomControl',
    'ReadoutAccuracyMetric',
    'RegionAttack',
    'RegionIoUMetric',
    'RegionStrips',
    'ShiftConsistencyMetric',
    'check_protocols',
    'confusion_margins',
    'count_strips',
    'draw_shifts',
    'margin_figures',
    'random_control',
    'region_attack',
    'segmentation_figures',
]
