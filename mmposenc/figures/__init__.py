"""Pictures of the results (Islam, Kowal et al., ICCV 2021)."""

from mmposenc.figures.ablated_predictions import AblatedPredictions, predict_ablated
from mmposenc.figures.curves import draw_channels_off, draw_region_attack
from mmposenc.figures.grid_figures import draw_accuracy, draw_confusion, draw_inputs, save_figure
from mmposenc.figures.overlays import draw_overlays
from mmposenc.figures.pooled_sums import draw_pooled_sums
from mmposenc.figures.report import Commands, Picture, Section, Table, build_report, save_text
from mmposenc.figures.sweep_curve import CURVE_HEAD, SweepCurve, curve_rows, sweep_curves
from mmposenc.figures.sweep_report import describe_curves, describe_sweep, sweep_command
from mmposenc.figures.sweep_table import SweepPoint, read_sweep, sided_rankings
from mmposenc.figures.verdicts import describe_attack, describe_control

__all__ = [
    'CURVE_HEAD',
    'AblatedPredictions',
    'Commands',
    'Picture',
    'Section',
    'SweepCurve',
    'SweepPoint',
    'Table',
    'build_report',
    'curve_rows',
    'describe_attack',
    'describe_control',
    'describe_curves',
    'describe_sweep',
    'draw_accuracy',
    'draw_channels_off',
    'draw_confusion',
    'draw_inputs',
    'draw_overlays',
    'draw_pooled_sums',
    'draw_region_attack',
    'predict_ablated',
    'read_sweep',
    'save_figure',
    'save_text',
    'sided_rankings',
    'sweep_command',
    'sweep_curves',
]
