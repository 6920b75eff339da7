"""Pictures of the results (Islam, Kowal et al., ICCV 2021)."""

from .grid_figures import draw_accuracy, draw_confusion, draw_inputs, save_figure

__all__ = [
    'draw_accuracy',
    'draw_confusion',
    'draw_inputs',
    'save_figure',
]
