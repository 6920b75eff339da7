"""The curves of Fig. 4 and 6: a metric against the channels that are switched off."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmposenc.figures.sweep_curve import RANDOM, SweepCurve

# Colours that the colour-blind can tell apart too (Okabe and Ito), each with a marker of its own.
_STYLES = [
    ('#0072b2', 'o'),
    ('#d55e00', 's'),
    ('#009e73', '^'),
    ('#cc79a7', 'v'),
    ('#e69f00', 'D'),
    ('#56b4e9', 'P'),
    ('#000000', 'X'),
]
_RANDOM_COLOUR = '0.45'


def draw_channels_off(curves: Sequence[SweepCurve]) -> Figure:
    """The metric with the best N channels off, above that with N of consecutive ranks off (Fig. 4, both rows).

    A column per layer. The random draws are a line through their means and a band from the smallest to the largest; in
    the lower row they are those of as many channels as a window has. A dotted line is the whole network.

    Args:
        curves: From `sweep_curves`, of one region; those of several metrics stand below one another.

    Raises:
        ValueError: If there is no curve, or no random draw beside curves of the best N.
    """
    if not curves:
        raise ValueError('there is no curve to draw: sweep first, with --num-channels, --windows or both')
    if not any(curve.ranking == RANDOM for curve in curves) and any(curve.kind == 'top' for curve in curves):
        raise ValueError(
            'the sweep has no random draws, without which no curve says anything about position: '
            'sweep again with --random 5, into another folder'
        )
    layers = list(dict.fromkeys(curve.layer for curve in curves))
    kinds = [kind for kind in ('top', 'window') if any(curve.kind == kind for curve in curves)]
    styles = _styles(dict.fromkeys(curve.ranking for curve in curves if curve.ranking != RANDOM))
    rows = [(metric, kind) for metric in dict.fromkeys(curve.metric for curve in curves) for kind in kinds]
    figure, panels = _panels(len(rows), len(layers))
    for (metric, kind), places in zip(rows, panels, strict=True):
        for layer, axis in zip(layers, places, strict=True):
            own = [curve for curve in curves if (curve.metric, curve.layer) == (metric, layer)]
            (_draw_top if kind == 'top' else _draw_windows)(axis, own, styles)
        _name_value_axis(places, metric, curves[0].region)
    for layer, axis in zip(layers, panels[0], strict=True):
        axis.set_title(f'off at {layer}', fontsize=9)
    _legend(figure, panels, 3)
    return figure


def draw_region_attack(curves: Sequence[SweepCurve], rankings: Mapping[str, str]) -> Figure:
    """The metric in the left and in the right half, by the side that the ranking is of (Fig. 6 and its other half).

    A column per half, a row per layer. A dotted line is the whole network.

    Args:
        curves: From `sweep_curves`, those of the regions left and right.
        rankings: Which ranking is of the side left, overall and right.

    Raises:
        ValueError: If one of the three rankings or of the two halves is missing.
    """
    top = [curve for curve in curves if curve.kind == 'top']
    halves = [half for half in ('left', 'right') if any(curve.region == half for curve in top)]
    there = [side for side, name in rankings.items() if any(curve.ranking == name for curve in top)]
    if not {'left', 'overall', 'right'} <= set(there) or len(halves) < 2:
        raise ValueError(
            'Fig. 6 needs rankings of left, overall and right, and the regions left and right; '
            f'got rankings of {", ".join(there) or "none"}, regions {", ".join(halves) or "none"}'
        )
    rows = list(dict.fromkeys((curve.metric, curve.layer) for curve in top))
    figure, panels = _panels(len(rows), 2)
    names = {rankings[side]: _side_label(side, rankings[side]) for side in ('left', 'overall', 'right')}
    styles = _styles([rankings[side] for side in ('overall', 'left', 'right')])
    for (metric, layer), places in zip(rows, panels, strict=True):
        for half, axis in zip(halves, places, strict=True):
            own = [curve for curve in top if (curve.metric, curve.layer, curve.region) == (metric, layer, half)]
            chosen = [curve for name in names for curve in own if curve.ranking == name]
            _draw_top(axis, chosen, styles, names)
            axis.set_title(f'{half} half, off at {layer}', fontsize=9)
        _name_value_axis(places, metric)
    _legend(figure, panels, 4)
    return figure


def _panels(rows: int, columns: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4 if columns == 1 else 4.3 * columns, 2.7 * rows + 0.7), layout='constrained')
    panels = figure.subplots(rows, columns, squeeze=False, sharey='row')
    for axis in panels.flat:
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    return figure, panels


def _styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes by ranking: the eighth has the first one's colour and marker, but dashes."""
    styles = {}
    for i, name in enumerate(names):
        colour, marker = _STYLES[i % len(_STYLES)]
        styles[name] = dict(color=colour, marker=marker, linestyle='-' if i < len(_STYLES) else '--')
    return styles


def _draw_top(
    axis: Axes,
    curves: Sequence[SweepCurve],
    styles: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str] | None = None,
) -> None:
    _draw_whole(axis, curves)
    for curve in curves:
        if curve.kind != 'top':
            continue
        if curve.ranking == RANDOM:
            axis.fill_between(curve.sizes, curve.lows, curve.highs, color=_RANDOM_COLOUR, alpha=0.3, linewidth=0)
            axis.plot(curve.sizes, curve.values, '--', color=_RANDOM_COLOUR, label=_random_label(curve))
        else:
            label = (names or {}).get(curve.ranking, curve.ranking)
            axis.plot(curve.sizes, curve.values, **styles[curve.ranking], markersize=4, linewidth=1.3, label=label)
    axis.set_xlabel('channels switched off, best first', fontsize=9)


def _draw_windows(axis: Axes, curves: Sequence[SweepCurve], styles: Mapping[str, Mapping[str, Any]]) -> None:
    _draw_whole(axis, curves)
    windows = [curve for curve in curves if curve.kind == 'window']
    size = windows[0].sizes[0]
    for curve in curves:
        if curve.ranking == RANDOM and size in curve.sizes:
            place = curve.sizes.index(size)
            axis.axhspan(curve.lows[place], curve.highs[place], color=_RANDOM_COLOUR, alpha=0.3, linewidth=0)
            axis.axhline(curve.values[place], linestyle='--', color=_RANDOM_COLOUR, label=_random_label(curve))
    for curve in windows:
        style = styles[curve.ranking]
        edges = [*curve.starts, curve.starts[-1] + size]
        axis.stairs(curve.values, edges, baseline=None, color=style['color'], linestyle=style['linestyle'])
        centres = [start + size / 2 for start in curve.starts]
        axis.plot(centres, curve.values, style['marker'], color=style['color'], markersize=4, label=curve.ranking)
    axis.set_xlabel(f'rank of the {size} channels switched off', fontsize=9)


def _draw_whole(axis: Axes, curves: Sequence[SweepCurve]) -> None:
    whole = {curve.values[curve.sizes.index(0)] for curve in curves if 0 in curve.sizes}
    for value in sorted(whole)[:1]:
        axis.axhline(value, color='black', linestyle=':', linewidth=1, label='no channel off')


def _name_value_axis(places: Sequence[Axes], metric: str, region: str = 'overall') -> None:
    """Begin at 0 where the curves fall to half of their height; otherwise say where the axis begins."""
    low, high = places[0].get_ylim()
    if low < high / 2:
        places[0].set_ylim(bottom=0)
    start = places[0].get_ylim()[0]
    name = re.sub(r'^top1$', 'Top-1', re.sub(r'^cons(\d+)_(.*)$', r'Cons.\1 (\2)', metric))
    label = f'{name}, %' if region == 'overall' else f'{name} of region {region}, %'
    places[0].set_ylabel(label if start == 0 else f'{label}\n(axis begins at {start:.1f})', fontsize=9)


def _side_label(side: str, ranking: str) -> str:
    return f'{side} channels' if ranking == side else f'{side} channels ({ranking})'


def _random_label(curve: SweepCurve) -> str:
    return f'random, mean and range of {curve.draws} draws' if curve.draws > 1 else 'random, 1 draw'


def _legend(figure: Figure, panels: Any, columns: int) -> None:
    handles: dict[str, Any] = {}
    for axis in panels.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()), list(handles), loc='outside lower center', ncols=columns, fontsize=8, frameon=False
    )
