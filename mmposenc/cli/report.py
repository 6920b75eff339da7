"""Draw the curves of a sweep (Fig. 4 and 6), and write them with its tables, pictures and commands into one page.

Writes fig4.png and .svg, for rankings of left, overall and right also fig6.png and .svg, the points of both as CSV, and
report.html, which needs no other file.

Examples:
    mmposenc report work_dirs/sweep
    mmposenc report work_dirs/sweep --out pictures --overlays fig5.png --command 'mmposenc sweep ...'
"""

import csv
import io
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmposenc.cli import common

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmposenc.figures.report import Commands
    from mmposenc.figures.sweep_curve import SweepCurve

INTRODUCTION = (
    'Channels of one layer are ablated (set to zero) and the network is measured again, on the same images. '
    'Each ranking says which channels go first; channels at random are the control.'
)
TITLES = dict(fig4='Channels ablated', fig6='One half of the image')
CAPTIONS = dict(
    fig4='As Fig. 4 of the paper: the N top-ranked channels of each ranking ablated, and below, where the sweep has '
    'windows, as many channels of consecutive ranks. The points: fig4.csv.',
    fig6='As Fig. 6 of the paper: one half measured, channels of the left, the right and both halves ablated. '
    'The points: fig6.csv.',
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument('folder', metavar='DIR', help='folder that mmposenc sweep wrote')
    parser.add_argument('--out', metavar='DIR', help='folder for pictures and report (default: that of the sweep)')
    parser.add_argument('--metrics', nargs='+', help='columns of sweep.csv (default: mIoU; of a classifier, all)')
    parser.add_argument('--region', default='overall', help='where Fig. 4 is measured (default: overall)')
    parser.add_argument('--overlays', nargs='+', default=[], metavar='FILE', help='pictures of mmposenc draw overlays')
    parser.add_argument('--command', nargs='+', default=[], metavar='LINE', help='commands to quote in the report')
    parser.add_argument('--title', help='of the report')


def run(args: Namespace) -> None:
    """Draw, and end with the path of the report (Fig. 4 and 6)."""
    from mmposenc.figures.curves import draw_channels_off, draw_region_attack
    from mmposenc.figures.report import Picture, Section, build_report, save_text
    from mmposenc.figures.sweep_curve import sweep_curves
    from mmposenc.figures.sweep_report import describe_curves, describe_sweep
    from mmposenc.figures.sweep_table import read_sweep, sided_rankings
    from mmposenc.figures.verdicts import describe_attack, describe_control

    overlays = [Picture(path, f'Predictions with and without channels (Fig. 5): {path}') for path in args.overlays]
    points, conditions = read_sweep(args.folder)
    metrics = list(dict.fromkeys(args.metrics or (['mIoU'] if 'classes' in conditions else conditions['figures'])))
    curves = [curve for metric in metrics for curve in sweep_curves(points, metric, args.region)]
    figures = {'fig4': (draw_channels_off(curves), curves)}
    sides = sided_rankings(conditions)
    if len(sides) == 3 and {'left', 'right'} <= set(conditions.get('regions', ())) and conditions['num_channels']:
        halves = [c for metric in metrics for half in ('left', 'right') for c in sweep_curves(points, metric, half)]
        drawn = [curve for curve in halves if curve.kind == 'top' and curve.ranking in sides.values()]
        figures['fig6'] = (draw_region_attack(halves, sides), drawn)
    else:
        common.say('no Fig. 6, which needs rankings and regions of left, right and overall, and --num-channels')
    tables = {
        'fig4': [*describe_curves(curves), *describe_control(args.folder, args.region)],
        'fig6': describe_attack(args.folder),
    }
    out = Path(args.out or args.folder)
    sections = []
    for name, (figure, drawn) in figures.items():
        picture = Picture(_save(figure, drawn, out / name), CAPTIONS[name])
        sections.append(Section(TITLES[name], [picture, *tables[name]]))
    if overlays:
        sections.append(Section('Predictions', overlays))
    sections.append(Section('What was swept', describe_sweep(conditions)))
    own = shlex.join(['mmposenc', 'report', *args.argv])
    sections.append(Section('Commands', _commands(conditions, args.command, own)))
    page = build_report(args.title or f'Channels ablated: {conditions.get("model", "")}', sections, INTRODUCTION)
    common.say(f'done: {", ".join(figures)} as PNG, SVG and CSV; {save_text(page, out / "report.html")}')


def _save(figure: 'Figure', curves: 'Sequence[SweepCurve]', path: Path) -> Path:
    """Write a figure as PNG and SVG beside its points, and return the SVG."""
    from mmposenc.figures.grid_figures import save_figure
    from mmposenc.figures.report import save_text
    from mmposenc.figures.sweep_curve import CURVE_HEAD, curve_rows

    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([CURVE_HEAD, *curve_rows(curves)])
    save_text(text.getvalue(), path.with_suffix('.csv'))
    save_figure(figure, path.with_suffix('.png'))
    return save_figure(figure, path.with_suffix('.svg'))


def _commands(conditions: Mapping[str, Any], given: Sequence[str], own: str) -> 'list[str | Commands]':
    """The commands as they were given, and the sweep's as its conditions tell it."""
    from mmposenc.figures.report import Commands
    from mmposenc.figures.sweep_report import sweep_command

    parts: list[str | Commands] = []
    if given:
        parts += ['As they were run:', Commands(given)]
    parts += [
        'The command of the sweep as sweep.json tells it; it does not say where config, checkpoint and rankings lie:',
        Commands([sweep_command(conditions)]),
        'This page:',
        Commands([own]),
    ]
    return parts
