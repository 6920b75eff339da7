"""Metrics: segmentation figures by region (Sec. 4.2.2) and shift consistency (Sec. 4.1)."""

from mmposenc.mm.metrics.region_iou import RegionIoUMetric
from mmposenc.mm.metrics.shift_consistency import ShiftConsistencyMetric

__all__ = ['RegionIoUMetric', 'ShiftConsistencyMetric']
