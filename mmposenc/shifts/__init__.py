"""Consistency under shifts, and AugShift, which trains for it (Sec. 4.1)."""

from mmposenc.shifts.augshift import AugShiftLoss, augshift_loss, two_views
from mmposenc.shifts.consistency import ConsistencyCard, shift_consistency
from mmposenc.shifts.protocols import PROTOCOLS, ShiftedViews, draw_shifts
from mmposenc.shifts.shift import random_shift, shift_images

__all__ = [
    'PROTOCOLS',
    'AugShiftLoss',
    'ConsistencyCard',
    'ShiftedViews',
    'augshift_loss',
    'draw_shifts',
    'random_shift',
    'shift_consistency',
    'shift_images',
    'two_views',
]
