"""Draw the curves of a sweep (Fig. 4 and 6), and write them with its tables into one page.

Writes fig4.png and .svg, for rankings and regions of left and right also fig6.png and .svg, and report.html, which
needs no other file. The numbers behind the figures are in the sweep's own sweep.csv.

Examples:
    mmposenc report work_dirs/sweep
    mmposenc report work_dirs/sweep --out pictures --overlays fig5.png --command 'mmposenc sweep ...'
"""

import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from mmposenc.cli import common

if TYPE_CHECKING:
    from mmposenc.channels.sweep import Sweep
    from mmposenc.figures.report import Section

INTRODUCTION = (
    'Channels of one layer are ablated (set to zero) and the network is measured again on the same images. Each '
    'ranking says which channels go first. Random orders of the channels are the control: a ranking has found '
    'something if it costs more than they do.'
)
FIG4 = (
    'What the network loses with the top N channels of each ranking ablated, beside N random ones (Fig. 4). Look for '
    'lines above the grey band of random orders: there, a ranking costs more than they do.'
)
WINDOWS = (
    ' Lower row: as many channels of consecutive ranks; where the ranking matters, the loss falls from left to right.'
)
FIG6 = (
    'What each half of the image loses with left, right and overall channels ablated, with 95% intervals over the '
    'images (Fig. 6). If left channels serve the left half and right ones the right half, each half loses most to its '
    'own. D, in points: how much more the left channels harm the left half and the right channels the right half than '
    'the other way round. p: how often random orders have such a D.'
)
FIG5 = (
    'Image, label, and predictions of the whole network, with the top channels of the ranking ablated, and with as '
    'many random ones (Fig. 5). The last column shows where the top channels change the answer: orange pixels were '
    'correct before.'
)


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add('folder', metavar='DIR', help='folder that mmposenc sweep wrote')
    add('--out', metavar='DIR', help='folder for figures and report (default: that of the sweep)')
    add('--metrics', nargs='+', help='metrics to draw, columns of sweep.csv (default: the one harm is measured in)')
    add('--region', default='overall', help='region of the image: overall (default), left, center or right')
    add('--overlays', nargs='+', default=[], metavar='FILE', help='pictures of mmposenc draw overlays')
    add('--command', nargs='+', default=[], metavar='LINE', help='commands to quote in the report')
    add('--title', help='title of the report')


def run(args: Namespace) -> None:
    """Draw, and end with the path of the report (Fig. 4 and 6)."""
    from mmposenc.channels.sweep import Sweep
    from mmposenc.figures.report import Commands, Picture, Section, build_report, describe_sweep, summarise_sweep
    from mmposenc.results import atomic_write

    overlays = [Picture(path, FIG5) for path in args.overlays]
    sweep, out = Sweep.load(args.folder), Path(args.out or args.folder)
    sections = draw_sections(sweep, out, args.metrics, args.region)
    if overlays:
        sections.append(Section('Predictions', overlays))
    commands = Commands([*args.command, shlex.join(['mmposenc', 'report', *args.argv])])
    sections += [Section('What was swept', describe_sweep(sweep)), Section('Commands', [commands])]
    title = args.title or f'Channels ablated: {sweep.about.get("model", "")}'
    page = build_report(title, sections, summarise_sweep(sweep, args.region), INTRODUCTION)
    common.say(f'done: {atomic_write(out / "report.html", page)}')


def draw_sections(
    sweep: 'Sweep', out: Path, metrics: list[str] | None = None, region: str = 'overall'
) -> 'list[Section]':
    """Write the figures of a sweep as PNG and SVG into `out`, and give the sections of a report that show them.

    Fig. 4 is drawn of each of `metrics` (default: the one that harm is measured in) in the region.
    """
    from mmposenc.figures import draw_dissociation, draw_sweep, save_figure
    from mmposenc.figures.report import Section, describe_claims, describe_curves, describe_dissociation, save_picture

    # Everything is drawn before anything is written, so that a mistake leaves no file.
    chosen: list[str | None] = [*metrics] if metrics else [None]
    drawn = [draw_sweep(sweep, metric, region) for metric in chosen]
    tables = [part for metric in chosen for part in describe_curves(sweep, metric, region)]
    fig6 = draw_dissociation(sweep) if sweep.dissociations() else None
    pictures = []
    for number, figure in enumerate(drawn, 1):
        name = f'fig4-{number}' if number > 1 else 'fig4'
        save_figure(figure, out / f'{name}.png')
        pictures.append(save_picture(figure, out / f'{name}.svg', FIG4 + (WINDOWS if sweep.plan.window else '')))
    sections = [Section('Loss with channels ablated', [*pictures, *describe_claims(sweep, region), *tables])]
    if fig6 is None:
        needs = 'rankings and regions of left and right, --num-channels and 19 random orders'
        common.say(f'without the figure of left and right (Fig. 6), which needs {needs}')
    else:
        save_figure(fig6, out / 'fig6.png')
        picture = save_picture(fig6, out / 'fig6.svg', FIG6)
        sections.append(Section('Left and right half', [picture, *describe_dissociation(sweep)]))
    return sections
