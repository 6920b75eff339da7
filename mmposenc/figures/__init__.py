"""Figures of the results, and the pages that hold them.

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021.
"""

from mmposenc.figures.grids import draw_accuracy, draw_confusion, draw_inputs, draw_pooled_sums
from mmposenc.figures.overlays import AblatedPredictions, draw_overlays
from mmposenc.figures.style import save_figure
from mmposenc.figures.sweeps import draw_classes, draw_dissociation, draw_sweep

__all__ = [
    'AblatedPredictions',
    'draw_accuracy',
    'draw_classes',
    'draw_confusion',
    'draw_dissociation',
    'draw_inputs',
    'draw_overlays',
    'draw_pooled_sums',
    'draw_sweep',
    'save_figure',
]
