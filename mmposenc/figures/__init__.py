"""Figures of the results, and the pages that hold them.

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021.
"""

try:
    import matplotlib  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"figures need {error.name}: pip install 'mmposenc[figures]'", name=error.name) from None

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
