"""Figures of `probe_location`: position over depth, read-outs over training images, the map of the position code."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter
from scipy.cluster.hierarchy import fclusterdata

from mmposenc.figures.style import COLOURS, GREY, line_styles, panels, shared_legend, styled

if TYPE_CHECKING:
    from mmposenc.grids import LocationProbe

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, _ = COLOURS
CONTROLS = {
    'none': ('this network', BLUE, 'o'),
    'random': ('random weights', VERMILION, 's'),
    'circular': ('circular padding', GREY, 'X'),
    'reflect': ('reflect padding', GREEN, '^'),
    'replicate': ('replicate padding', PURPLE, 'v'),
    'noise': ('on noise', ORANGE, 'D'),
    'images': ('on other images', SKY, 'P'),
    'rolled': ('whole images, rolled', BLACK, '.'),
}
AXES = {'top_bottom': ('top-bottom', BLUE, 'o'), 'left_right': ('left-right', VERMILION, 's')}
READOUTS = {
    'order': ('channels in order', BLUE, 'o'),
    'sorted': ('sorted', GREEN, '^'),
    'sum': ('sum only', PURPLE, 'v'),
    'shuffled': ('shuffled', ORANGE, 'D'),
}


@styled
def plot_depth(probe: 'LocationProbe') -> Figure:
    """Position, interaction, position by axis and the read-outs of every layer, in order, with 95% intervals."""
    figure, ((position, interaction), (axes, accuracy)) = panels(2, 2, 5.2, 3.0, sharex=True)
    controls = [c for c in CONTROLS if any(c in probe.measures[layer] for layer in probe.layers)]
    for control in controls:
        _line(position, probe, control, 'position', *CONTROLS[control])
        _line(interaction, probe, control, 'interaction', *CONTROLS[control])
    for measure, (label, colour, marker) in AXES.items():
        _line(axes, probe, 'none', measure, label, colour, marker)
        if 'random' in controls:
            _line(axes, probe, 'random', measure, f'{label}, random weights', colour, marker, dashed=True)
    for measure, look in READOUTS.items():
        _line(accuracy, probe, 'none', measure, *look)
    accuracy.axhline(100 / probe.grid_size**2, color=GREY, linestyle=':', linewidth=1, label='chance')
    position.set(title='Position: what the cell adds, whatever the patch', ylabel='share of variance (%)')
    interaction.set(title='Interaction: position that depends on the content', ylabel='share of variance (%)')
    axes.set(title='Position by axis', ylabel='share of variance (%)')
    train = max(curves['none']['order'][-1][0] for curves in probe.curves.values())
    accuracy.set(title=f'Cell predicted, {train} training images', ylabel='accuracy (%)', ylim=(0, 130))
    accuracy.set_yticks(range(0, 101, 20))
    for panel in (position, interaction, axes):
        panel.grid(axis='y')
        panel.set_ylim(bottom=min(0, panel.get_ylim()[0]))
    accuracy.grid(axis='y')
    interaction.set_ylim(0, max(10, interaction.get_ylim()[1]))
    for panel in (axes, accuracy):
        panel.set_xticks(range(len(probe.layers)), probe.layers, rotation=30, ha='right', rotation_mode='anchor')
    for panel in (position, axes):
        panel.set_ylim(top=1.3 * panel.get_ylim()[1])  # room for the legend
        panel.set_yticks([share for share in panel.get_yticks() if panel.get_ylim()[0] <= share <= 100])
        panel.legend(loc='upper left', ncols=2)
    accuracy.legend(loc='upper left', ncols=3)
    cells = f'{probe.grid_size}x{probe.grid_size} cells of {probe.cell_size} px on zeros'
    figure.suptitle(f'{probe.model}: {probe.num_images} images, {probe.patch_size} px patches in {cells}')
    return figure


@styled
def plot_atlas(probes: Sequence['LocationProbe']) -> Figure:
    """Share of position over depth for several networks: as they are, and with random weights where measured."""
    figure, (row,) = panels(1, 3, 3.6, 3.2, sharex=True)
    looks = line_styles([probe.model for probe in probes])
    titles = {'position': 'Position', 'top_bottom': 'Top-bottom', 'left_right': 'Left-right'}
    for panel, (measure, title) in zip(row, titles.items(), strict=True):
        for probe in probes:
            depth = [probe.depth[layer] for layer in probe.layers]
            measures = [probe.measures[layer] for layer in probe.layers]
            look = {**looks[probe.model], 'linestyle': '-'}
            panel.plot(depth, [of['none'][measure][0] for of in measures], label=probe.model, **look)
            if all('random' in of for of in measures):
                look = dict(linestyle=':', color=look['color'], label=f'{probe.model}, random weights')
                panel.plot(depth, [of['random'][measure][0] for of in measures], **look)
        panel.set(title=title, xlabel='depth (share of operations)', xlim=(0, 1.02))
        panel.set_ylim(bottom=min(0, panel.get_ylim()[0]))
        panel.grid(axis='y')
    row[0].set_ylabel('share of variance (%)')
    shared_legend(figure, columns=3)
    return figure


@styled
def plot_learning_curves(probe: 'LocationProbe') -> Figure:
    """Accuracy of each read-out over the number of training images, with 95% intervals, a panel per layer."""
    columns = min(4, len(probe.layers))
    rows = -(-len(probe.layers) // columns)
    figure, grid = panels(rows, columns, 2.6, 2.3, sharex=True, sharey=True)
    for panel, layer in zip(grid.flat, probe.layers, strict=False):
        for readout, (label, colour, marker) in READOUTS.items():
            images, values, low, high = np.array(probe.curves[layer]['none'][readout]).T
            panel.plot(images, values, color=colour, marker=marker, label=label)
            panel.fill_between(images, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.axhline(100 / probe.grid_size**2, color=GREY, linestyle=':', linewidth=1, label='chance')
        panel.set(title=layer, xscale='log', ylim=(0, 103))
        panel.set_xticks(images)
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(axis='y')
    for panel in grid.flat[len(probe.layers) :]:
        panel.set_visible(False)
    for panel in grid[:, 0]:
        panel.set_ylabel('accuracy (%)')
    for panel in grid[-1]:
        panel.set_xlabel('training images')
    figure.suptitle(f'{probe.model}: cell predicted from pooled features of other images')
    shared_legend(figure, columns=5)
    return figure


@styled
def plot_code_map(probe: 'LocationProbe', *layers: str) -> Figure:
    """The cell means along their two leading principal components, neighbouring cells joined by lines.

    Channels are divided by their standard deviation. A layer that holds rows and columns shows the canvas as a grid;
    one that holds rows only, as a line.
    """
    figure, ((*maps,),) = panels(1, len(layers), 3.6, 3.6)
    n = probe.grid_size
    row, column = np.indices((n, n)).reshape(2, -1) / (n - 1)
    colours = np.stack([0.45 + 0.5 * column, 0.55 + 0.35 * row, 0.95 - 0.5 * column], 1)  # warm right, light below
    for panel, layer in zip(maps, layers, strict=True):
        variance = probe.variance[layer].double().numpy()
        live = variance > 1e-10 * np.median(variance)
        code = probe.codes[layer].double().numpy()[:, live] / variance[live] ** 0.5
        code = np.pad(code - code.mean(0), ((0, 0), (0, 1)))  # a single channel has a second component, of zeros
        left, singular, _ = np.linalg.svd(code, full_matrices=False)
        points = left[:, :2] * singular[:2]
        # The signs of components are arbitrary: the first cell is put at the upper left.
        points = points * np.where(points[0] > 0, -1, 1) * [1, -1]
        grid = points.reshape(n, n, 2)
        for line in [*grid, *grid.transpose(1, 0, 2)]:
            panel.plot(*line.T, color=GREY, linewidth=1, zorder=1)
        panel.scatter(*points.T, s=80, zorder=2, c=colours, edgecolors='black')
        groups = fclusterdata(points, 0.1 * np.ptp(points, axis=0).max(), 'distance')
        for group in np.unique(groups):
            _name_cells(panel, points, np.flatnonzero(groups == group), n)
        shares = 100 * singular**2 / max((singular**2).sum(), 1e-30)
        panel.set(title=layer, ylabel=f'component 2 ({shares[1]:.0f}%)')
        panel.set_xlabel(f'component 1 ({shares[0]:.0f}% of the code)')
        panel.set_aspect('equal', 'datalim')
        panel.margins(0.15)
    figure.suptitle(f'{probe.model}: position code, cells as row,column')
    return figure


def _name_cells(panel: Axes, points: np.ndarray, cells: np.ndarray, n: int) -> None:
    """Write the names of neighbouring cells on that side of them which faces away from the middle (0, 0)."""
    own = points[cells]
    ends, middle = (own.min(0), own.mean(0), own.max(0)), own.mean(0)
    direction = middle / max(np.linalg.norm(middle), 1e-12)
    x, y = ((1 + (d > 0.35) - (d < -0.35)) for d in direction)
    look: Any = dict(ha=('right', 'center', 'left')[x], va=('top', 'center', 'bottom')[y], fontsize=8, zorder=3)
    text = '\n'.join(f'{cell // n},{cell % n}' for cell in cells[np.argsort(-own[:, 1], kind='stable')])
    panel.annotate(text, (ends[x][0], ends[y][1]), tuple(7 * direction), textcoords='offset points', **look)


def _line(
    panel: Axes, probe: 'LocationProbe', control: str, measure: str, label: str, colour: str, marker: str, dashed=False
) -> None:
    places = [i for i, layer in enumerate(probe.layers) if control in probe.measures[layer]]
    values, low, high = np.array([probe.measures[probe.layers[i]][control][measure] for i in places]).T
    panel.plot(places, values, color=colour, marker=marker, label=label, linestyle=':' if dashed else '-')
    if not dashed:
        panel.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
