"""The curves of a sweep: what ablated channels cost, beside random ones (Fig. 4 and 6)."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmposenc.chance import FEWEST, chance_test
from mmposenc.channels.sweep import Sweep, SweepCurve
from mmposenc.figures.style import GREY, line_styles, panels, shared_legend, styled
from mmposenc.ranking import Ranking

_BAND: dict[str, Any] = dict(color=GREY, alpha=0.25, lw=0)
_MEAN: dict[str, Any] = dict(color=GREY, linestyle='--', label='random channels, mean')
_PAIRS = {
    'flip_image': 'mirroring',
    'flip_image_vertical': 'turning upside down',
    'roll_image': 'rolling',
    'roll_image_vertical': 'rolling vertically',
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


def numbers_label(sweep: Sweep) -> str:
    """Over which numbers of channels means are taken."""
    return f'N = {sweep.plan.num_channels[0]} to {sweep.plan.num_channels[-1]}'


@styled
def draw_sweep(sweep: Sweep, metric: str | None = None, region: str = 'overall') -> Figure:
    """What a metric loses with the top N channels ablated, and with windows of ranks (Fig. 4, both rows).

    A column for each layer. The dashed line is the mean of the random orders, the band holds 95% of single random
    orders (all of them, where there are fewer than 19). Dotted lines are random orders that match the ranking of their
    colour in strength.

    The default metric is the one that harm is measured in. ValueError if the sweep has no such metric in the region.
    """
    metric = metric or sweep.harm_of
    curves, whole = sweep.curves(metric, region), sweep.whole(metric, region)
    kinds = [kind for kind in ('top', 'window') if any(curve.kind == kind for curve in curves)]
    looks = _looks(sweep)
    width = 8 if len(sweep.layers) == 1 else 5  # A single column must have room for the legend.
    figure, places = panels(len(kinds), len(sweep.layers), width, 3, sharey='row')
    for (kind, layer), axis in zip(product(kinds, sweep.layers), places.flat, strict=True):
        axis.axhline(0, color='black', linewidth=0.8)
        for curve in (curve for curve in curves if (curve.layer, curve.kind) == (layer, kind)):
            _draw_curve(axis, curve, whole, looks)
        axis.grid(True)
    for axis, layer in zip(places[0], sweep.layers, strict=True):
        axis.set_title(f'ablated at {layer}')
    for axis in places[:, 0]:
        where = '' if region == 'overall' else f' in {region}'
        axis.set_ylabel(f'loss of {metric_label(metric)}{where}, points')
    shared_legend(figure, 3)
    return figure


@styled
def draw_dissociation(sweep: Sweep) -> Figure:
    """What the left and the right half lose to left, overall and right channels (Fig. 6).

    A column for each half, a row for each layer. Bands are 95% intervals over images, the dashed line is the mean of
    the random orders. In each row stand D, the double dissociation, and its p value. ValueError if rankings of left and
    right, these regions, or 19 random orders are missing.
    """
    first = {of.region: name for name, of in reversed(sweep.plan.rankings.items())}
    rankings, looks = [first[side] for side in ('left', 'overall', 'right') if side in first], _looks(sweep)
    figure, places = panels(len(sweep.layers), 2, 5, 3, sharey=True)
    for layer, row in zip(sweep.layers, places, strict=True):
        found = sweep.dissociation(layer)
        for half, axis in zip(('left', 'right'), row, strict=True):
            numbers = sweep.plan.num_channels
            axis.axhline(0, color='black', linewidth=0.8)
            axis.plot(numbers, sweep.random_harm(half, layer).mean(0).tolist(), **_MEAN)
            for name in rankings:
                axis.plot(numbers, sweep.harm(name, half, layer).tolist(), **looks[name])
                low, high = (end.tolist() for end in sweep.interval(name, half, layer))
                axis.fill_between(numbers, low, high, color=looks[name]['color'], alpha=0.15, lw=0)
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
    rows, looks = class_claims(sweep, rankings), _looks(sweep)
    classes = list(dict.fromkeys(row['class'] for row in rows))
    figure, ((axis,),) = panels(1, 1, max(5, 1.2 * len(classes)), 3)
    axis.use_sticky_edges = False  # No bar ends at the frame.
    for row in rows:
        place = classes.index(row['class'])
        shift = 0.14 * (rankings.index(row['ranking']) - (len(rankings) - 1) / 2)
        if row['ranking'] == rankings[0]:
            label = f'95% of single random orders ({sweep.plan.num_random} drawn)'
            axis.bar(place, row['high'] - row['low'], 0.8, row['random'] + row['low'], **_BAND, label=label)
            axis.hlines(row['random'], place - 0.4, place + 0.4, **_MEAN)
        axis.plot(place + shift, row['harm'], **{**looks[row['ranking']], 'linestyle': '', 'markersize': 6})
    axis.axhline(0, color='black', linewidth=0.8)
    axis.grid(True, axis='y')
    axis.set_xticks(range(len(classes)), classes)
    axis.set_ylabel('loss of IoU, points')
    axis.set_title(f'mean over {numbers_label(sweep)} channels ablated at {sweep.layers[0]}')
    shared_legend(figure, 3)
    return figure


def class_claims(sweep: Sweep, rankings: Sequence[str]) -> list[dict[str, Any]]:
    """Mean loss of each class's IoU over N at the first layer, beside random orders, with the p value of `chance_test`.

    Classes come from the metrics `IoU/<class>`; one that is never right, or without labelled pixels, is left out.
    """
    rows = []
    for metric in (name for name in sweep.metrics if name.startswith('IoU/')):
        whole = sweep.whole(metric)
        if not whole > 0:  # Without labels it is NaN, or 0 where the class is predicted.
            continue
        own = {c.ranking: c for c in sweep.curves(metric) if (c.layer, c.kind) == (sweep.layers[0], 'top')}
        draws = own['random'].draws if 'random' in own else None
        if draws is None:
            raise ValueError('the sweep has no random orders to compare with: sweep again with 39')
        drawn = (whole - draws).mean(1, keepdim=True)
        for name in rankings:
            # One mean per order: the band is then that of the mean over N.
            harm = (whole - own[name].values).mean()[None]
            test = chance_test(harm, drawn)
            tested = {key: float(getattr(test, key)) for key in ('harm', 'random', 'low', 'high', 'p')}
            rows.append({'class': metric.removeprefix('IoU/'), 'ranking': name, **tested})
    return rows


def _looks(sweep: Sweep) -> dict[str, dict[str, Any]]:
    """How the line of each ranking is drawn, and its label."""
    labels = ranking_labels(sweep.plan.rankings)
    return {name: style | {'label': labels[name]} for name, style in line_styles(labels).items()}


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
    return 'highest mean activation' if ranking.statistic == 'mean_activation' else ''


def _draw_curve(axis: Axes, curve: SweepCurve, whole: float, looks: Mapping[str, dict]) -> None:
    harm, size, top = (whole - curve.values).tolist(), curve.sizes[0], curve.kind == 'top'
    if curve.ranking == 'matched':
        if top:
            axis.plot(curve.sizes, harm, ':', color=looks[curve.of]['color'], label='random, matched in strength')
    elif curve.draws is not None:
        drawn = whole - curve.draws
        low, high, label = drawn.amin(0), drawn.amax(0), f'all {len(drawn)} random orders'
        if len(drawn) >= FEWEST['greater']:
            test = chance_test(drawn.mean(0), drawn)
            low, high = test.random + test.low, test.random + test.high
            label = f'95% of single random orders ({len(drawn)} drawn)'
        if top:
            axis.fill_between(curve.sizes, low.tolist(), high.tolist(), **_BAND, label=label)
            axis.plot(curve.sizes, harm, **_MEAN)
        else:
            axis.axhspan(float(low[0]), float(high[0]), **_BAND, label=label)
            axis.axhline(harm[0], **_MEAN)
    elif top:
        axis.plot(curve.sizes, harm, **looks[curve.ranking])
    else:
        look = looks[curve.ranking]
        axis.stairs(harm, [*curve.starts, curve.starts[-1] + size], baseline=None, color=look['color'], alpha=0.6)
        axis.plot([start + size / 2 for start in curve.starts], harm, **{**look, 'linestyle': ''})
    axis.set_xlabel('channels ablated, top-ranked first' if top else f'rank of the {size} channels ablated')
