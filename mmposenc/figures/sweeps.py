"""The curves of a sweep: what ablated channels cost, beside random ones (Fig. 4 and 6)."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mmposenc.chance import FEWEST, chance_test
from mmposenc.channels.sweep import Sweep, SweepCurve
from mmposenc.figures.style import BLUE, GREY, ORANGE, VERMILION, line_styles, panels, shared_legend, styled
from mmposenc.ranking import Ranking

SIDES = ('left', 'overall', 'right')
_PAIRS = {
    'flip_image': 'mirroring',
    'flip_image_vertical': 'turning upside down',
    'roll_image': 'rolling',
    'flip_kernels': 'mirrored kernels',
    'flip_image_flipped_kernels': 'mirrored image and kernels',
}


def ranking_labels(rankings: Mapping[str, Ranking]) -> dict[str, str]:
    """How figures and reports call rankings, by their names: by what they measure, as far as it is known."""
    labels = {name: _label(ranking) or name for name, ranking in rankings.items()}
    times = Counter(labels.values())
    return {name: label if times[label] == 1 else f'{label}, {name}' for name, label in labels.items()}


def metric_label(metric: str) -> str:
    """A figure's name as people write it: Top-1, Cons.8 (zero_ref), mIoU."""
    text = re.sub(r'^cons(\d+)_(.*)$', r'Cons.\1 (\2)', metric).replace('mIoU_labelled', 'mIoU')
    return re.sub(r'^IoU/', 'IoU of ', re.sub(r'^top1$', 'Top-1', text))


@styled
def draw_sweep(sweep: Sweep, metric: str | None = None, region: str = 'overall') -> Figure:
    """What a metric loses with the top N channels ablated, and with windows of ranks (Fig. 4, both rows).

    A column for each layer. The dashed line is the mean of the random orders, the band holds 95% of single random
    orders (all of them, where there are fewer than 19). Dotted lines are random orders that match the ranking of their
    colour in strength.

    The default metric is the one that harm is measured in.

    Raises:
        ValueError: If there is no such metric or region, or the metric is not defined there.
    """
    metric = metric or sweep.harm_of
    curves, whole = sweep.curves(metric, region), sweep.whole(metric, region)
    kinds = [kind for kind in ('top', 'window') if any(curve.kind == kind for curve in curves)]
    labels = ranking_labels(sweep.plan.rankings)
    styles = line_styles(labels)
    width = 8 if len(sweep.layers) == 1 else 5  # A single column must have room for the legend.
    figure, places = panels(len(kinds), len(sweep.layers), width, 3, sharey='row')
    for kind, row in zip(kinds, places, strict=True):
        for layer, axis in zip(sweep.layers, row, strict=True):
            own = [curve for curve in curves if (curve.layer, curve.kind) == (layer, kind)]
            axis.axhline(0, color='black', linewidth=0.8)
            (_draw_top if kind == 'top' else _draw_windows)(axis, own, whole, labels, styles)
            axis.set_title(f'ablated at {layer}')
            axis.grid(True)
        where = '' if region == 'overall' else f' in {region}'
        row[0].set_ylabel(f'loss of {metric_label(metric)}{where}, points')
    shared_legend(figure, 3)
    return figure


@styled
def draw_dissociation(sweep: Sweep) -> Figure:
    """What the left and the right half lose to left, overall and right channels (Fig. 6).

    A column for each half, a row for each layer. Bands are 95% intervals over images of the left and right curves; the
    dashed line is the mean of the random orders. Above each row stand D, the double dissociation, and its p value.

    Raises:
        ValueError: If rankings of left and right, these regions, or 19 random orders are missing.
    """
    names = sided_rankings(sweep)
    colours = dict(zip(SIDES, (BLUE, ORANGE, VERMILION), strict=True))
    figure, places = panels(len(sweep.layers), 2, 5, 3, sharey=True)
    for layer, row in zip(sweep.layers, places, strict=True):
        found = sweep.dissociation(layer)
        for half, axis in zip(('left', 'right'), row, strict=True):
            numbers = sweep.plan.num_channels
            axis.axhline(0, color='black', linewidth=0.8)
            mean = sweep.random_harm(half, layer).mean(0).tolist()
            axis.plot(numbers, mean, '--', color=GREY, label='random channels, mean')
            for side, name in names.items():
                style = dict(color=colours[side], marker=dict(left='<', overall='o', right='>')[side])
                harm = sweep.harm(name, half, layer).tolist()
                axis.plot(numbers, harm, **style, label=f'{side} channels' if side != 'overall' else 'overall (Eq. 2)')
                if side != 'overall':
                    low, high = sweep.interval(name, half, layer)
                    axis.fill_between(numbers, low.tolist(), high.tolist(), color=colours[side], alpha=0.15, lw=0)
            axis.set(title=f'{half} half of the image, ablated at {layer}', xlabel='channels ablated')
            axis.grid(True)
        row[0].set_ylabel(f'loss of {metric_label(sweep.harm_of)} in the half, points')
        text = f'D = {found.difference:.2f} points, p = {found.p:.3f}'
        row[1].text(0.03, 0.95, text, transform=row[1].transAxes, va='top')  # where no curve is
    shared_legend(figure, 4)
    return figure


@styled
def draw_classes(sweep: Sweep, rankings: Sequence[str]) -> Figure:
    """What each class loses to each ranking at the first layer, beside random channels (Sec. 4.2.2).

    A dot is the mean loss of IoU over N; the grey bar holds 95% of single random orders, its line is their mean. The
    sweep must be of a segmenter, with at least 19 random orders.
    """
    rows, labels, styles = (
        class_claims(sweep, rankings),
        ranking_labels(sweep.plan.rankings),
        line_styles(sweep.rankings),
    )
    classes = list(dict.fromkeys(row['class'] for row in rows))
    figure, ((axis,),) = panels(1, 1, max(5, 1.2 * len(classes)), 3)
    for row in rows:
        place = classes.index(row['class'])
        shift = 0.14 * (rankings.index(row['ranking']) - (len(rankings) - 1) / 2)
        if row['ranking'] == rankings[0]:
            height = row['high'] - row['low']
            label = f'95% of single random orders ({sweep.plan.num_random} drawn)'
            axis.bar(place, height, 0.8, row['random'] + row['low'], color=GREY, alpha=0.25, lw=0, label=label)
            axis.hlines(row['random'], place - 0.4, place + 0.4, color=GREY, ls='--', label='random channels, mean')
        style = {**styles[row['ranking']], 'linestyle': '', 'markersize': 6}
        axis.plot(place + shift, row['harm'], **style, label=labels[row['ranking']])
    axis.axhline(0, color='black', linewidth=0.8)
    axis.grid(True, axis='y')
    axis.set_xticks(range(len(classes)), classes)
    axis.set_ylabel('loss of IoU, points')
    axis.set_title(f'mean over N channels ablated at {sweep.layers[0]}')
    shared_legend(figure, 3)
    return figure


def class_claims(sweep: Sweep, rankings: Sequence[str]) -> list[dict[str, Any]]:
    """Mean loss of each class's IoU over N at the first layer, beside random orders, with the p value of `chance_test`.

    Classes come from the metrics `IoU/<class>`; one without labelled pixels is left out.
    """
    rows = []
    for metric in (name for name in sweep.metrics if name.startswith('IoU/')):
        whole = sweep.whole(metric)
        if whole != whole:
            continue
        own = {c.ranking: c for c in sweep.curves(metric) if (c.layer, c.kind) == (sweep.layers[0], 'top')}
        drawn = own['random'].draws if 'random' in own else None
        if drawn is None:
            raise ValueError('the sweep has no random orders to compare with: sweep again with 39')
        for name in rankings:
            # One mean per order: the band is then that of the mean over N.
            harm = (whole - own[name].values).mean()[None]
            test = chance_test(harm, (whole - drawn).mean(1, keepdim=True))
            row = dict(ranking=name, harm=float(harm), random=float(test.random), low=float(test.low))
            rows.append({'class': metric.removeprefix('IoU/'), **row, 'high': float(test.high), 'p': float(test.p)})
    return rows


def sided_rankings(sweep: Sweep) -> dict[str, str]:
    """The first ranking of the left half, of everything and of the right half, as far as there are any."""
    first: dict[str, str] = {}
    for name, ranking in sweep.plan.rankings.items():
        first.setdefault(ranking.region, name)
    return {side: first[side] for side in SIDES if side in first}


def _label(ranking: Ranking) -> str:
    pair = _PAIRS.get(ranking.pair, ranking.pair)
    if ranking.statistic == 'abs' and ranking.region == 'overall':
        return f'most sensitive to {pair}{" (Eq. 2)" if ranking.pair == "flip_image" else ""}'
    if ranking.statistic in ('signed', 'centred'):
        centred = ', centred' if ranking.statistic == 'centred' else ''
        by = '' if ranking.pair == 'flip_image' else f', by {pair}'
        return f'{ranking.region}-specific (Eq. 3{centred}){by}'
    if ranking.statistic == 'relative' and ranking.region == 'overall':
        return f'most sensitive to {pair}, relative'
    return 'mean activation' if ranking.statistic == 'mean_activation' else ''


def _band(draws: Tensor, whole: float) -> tuple[Tensor, Tensor, str]:
    """The band of single random orders around their mean, and what it is called."""
    harm = whole - draws
    if len(harm) < FEWEST['greater']:
        return harm.amin(0), harm.amax(0), f'all {len(harm)} random orders'
    test = chance_test(harm.mean(0), harm)
    return test.random + test.low, test.random + test.high, f'95% of single random orders ({len(harm)} drawn)'


def _draw_top(
    axis: Axes, curves: Sequence[SweepCurve], whole: float, labels: Mapping[str, str], styles: Mapping[str, dict]
) -> None:
    for curve in curves:
        harm = (whole - curve.values).tolist()
        if curve.ranking == 'random' and curve.draws is not None:
            low, high, label = _band(curve.draws, whole)
            axis.fill_between(curve.sizes, low.tolist(), high.tolist(), color=GREY, alpha=0.25, lw=0, label=label)
            axis.plot(curve.sizes, harm, '--', color=GREY, label='random channels, mean')
        elif curve.ranking == 'matched':
            axis.plot(curve.sizes, harm, ':', color=styles[curve.of]['color'], label='random, matched in strength')
        else:
            axis.plot(curve.sizes, harm, **styles[curve.ranking], label=labels[curve.ranking])
    axis.set_xlabel('channels ablated, top-ranked first')


def _draw_windows(
    axis: Axes, curves: Sequence[SweepCurve], whole: float, labels: Mapping[str, str], styles: Mapping[str, dict]
) -> None:
    for curve in curves:
        size, harm = curve.sizes[0], (whole - curve.values).tolist()
        if curve.ranking == 'random' and curve.draws is not None:
            low, high, label = _band(curve.draws, whole)
            axis.axhspan(float(low[0]), float(high[0]), color=GREY, alpha=0.25, lw=0, label=label)
            axis.axhline(harm[0], linestyle='--', color=GREY, label='random channels, mean')
        elif curve.ranking != 'matched':
            style = styles[curve.ranking]
            axis.stairs(harm, [*curve.starts, curve.starts[-1] + size], baseline=None, color=style['color'])
            centres = [start + size / 2 for start in curve.starts]
            axis.plot(centres, harm, **{**style, 'linestyle': ''}, label=labels[curve.ranking])
    axis.set_xlabel(f'rank of the {curves[0].sizes[0]} channels ablated')
