"""Figures of the grid experiments (Sec. 3): inputs, accuracy, confusion over the grid, sums of the pooled channels."""

from collections.abc import Sequence
from itertools import groupby, product
from operator import itemgetter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mmposenc.figures.style import BLUE, GREEN, PURPLE, VERMILION, WIDTH, panels, shared_legend, styled

_NETS = {
    'gapnet': ('GAPNet', BLUE, 'o'),
    'permutenet': ('PermuteNet', VERMILION, 's'),
    'sortnet': ('sorted channels', GREEN, '^'),
    'sumnet': ('sum of channels', PURPLE, 'v'),
}
_CHANCE: Any = dict(color='0.5', linestyle=':', marker='.')


@styled
def draw_inputs(images: np.ndarray, titles: Sequence[str], grid_size: int) -> Figure:
    """The canvases that a network sees (N, H, W, 3), uint8, each under its title (Fig. 1, left).

    Thin lines, which are not part of the input, mark the cells, `grid_size` per side.
    """
    columns = min(len(images), 6)
    figure, places = panels(-(-len(images) // columns), columns, 1.6, 1.75)
    height, width = images.shape[1:3]
    for axis in places.flat:
        axis.set_axis_off()
    for axis, image, title in zip(places.flat, images, titles, strict=False):
        axis.imshow(image, extent=(0, width, height, 0), interpolation='nearest')
        for i in range(grid_size + 1):
            axis.axhline(i * height / grid_size, color='white', linewidth=0.6, alpha=0.7)
            axis.axvline(i * width / grid_size, color='white', linewidth=0.6, alpha=0.7)
        axis.set_title(title, fontsize=8)
    return figure


@styled
def draw_accuracy(runs: Sequence[dict]) -> Figure:
    """Accuracy against grid size, a panel for each task and padding, the paper's dashed (Table 1).

    Runs, at least one, are dicts with task, padding, net, grid_size, accuracy and paper, in %. Several seeds are dots,
    and the line goes through their mean.
    """
    if not runs:
        raise ValueError('there is no finished run to draw; train one first')
    tasks = [task for task in ('location', 'category') if any(run['task'] == task for run in runs)]
    paddings = list(dict.fromkeys(run['padding'] for run in runs))
    sizes = sorted({run['grid_size'] for run in runs})
    figure, places = panels(len(tasks), len(paddings), 3.4, 2.9, sharex=True, sharey=True)
    for (task, padding), axis in zip(product(tasks, paddings), places.flat, strict=True):
        for net in dict.fromkeys(run['net'] for run in runs):
            here = [run for run in runs if (run['task'], run['padding'], run['net']) == (task, padding, net)]
            if here:
                _draw_net(axis, sorted(here, key=itemgetter('grid_size')), *_NETS[net][1:])
        axis.plot(sizes, [100 / n**2 if task == 'location' else 10 for n in sizes], **_CHANCE)
        # A little more than 0 to 100, so that no marker at either end is cut.
        axis.set(xticks=sizes, xticklabels=[f'{n} x {n}' for n in sizes], ylim=(-3, 103))
        axis.set(title=f'{task}, {padding.removesuffix("s")} padding')
        axis.margins(x=0.08)
        axis.grid()
    for axis in places[:, 0]:
        axis.set_ylabel('accuracy, %')
    for axis in places[-1]:
        axis.set_xlabel('cells per side of the grid')
    drawn = [look for net, look in _NETS.items() if any(run['net'] == net for run in runs)]
    handles = {label: Line2D([], [], color=colour, marker=marker) for label, colour, marker in drawn}
    handles["the paper's"] = Line2D([], [], color='0.2', linestyle='--', marker='o', markerfacecolor='white')
    handles['chance'] = Line2D([], [], **_CHANCE)
    shared_legend(figure, 3, handles)
    return figure


def _draw_net(axis: Axes, runs: list[dict], colour: str, marker: str) -> None:
    """The runs of a network as dots, their means as a line, the paper's beside them."""
    of = {size: list(same) for size, same in groupby(runs, itemgetter('grid_size'))}
    axis.plot([run['grid_size'] for run in runs], [run['accuracy'] for run in runs], marker, color=colour, markersize=5)
    axis.plot(list(of), [np.mean([run['accuracy'] for run in same]) for same in of.values()], color=colour)
    paper = {size: same[-1]['paper'] for size, same in of.items() if same[-1]['paper'] is not None}
    style: Any = dict(marker=marker, markersize=5, markerfacecolor='white', ls='--', linewidth=1)
    axis.plot(list(paper), list(paper.values()), color=colour, zorder=1, **style)


@styled
def draw_confusion(counts: np.ndarray, grid_size: int, name: str = '') -> Figure:
    """Where the patches of each cell are predicted to be, each cell drawn in its place (Sec. 3, location).

    A panel is itself a picture of the grid: the share of patches, in %, that the network assigns to each cell. A red
    frame marks the true cell.

    Args:
        counts: Confusion counts (cells, cells), true cells in rows, each with samples, predicted ones in columns.
        grid_size: Cells per side.
        name: Of the network, such as 'gapnet', for the title.
    """
    cells = grid_size**2
    counts = np.asarray(counts, dtype=float)
    if counts.shape != (cells, cells):
        shape = f'the shape ({cells}, {cells}), got {counts.shape}; take a network that predicts locations'
        raise ValueError(f'counts of a {grid_size}x{grid_size} grid must have {shape}')
    totals = counts.sum(1)
    if not totals.all():
        raise ValueError(f'cell {int(totals.argmin())} has no sample; test on more images')
    shares = (100 * counts / totals[:, None]).reshape(cells, grid_size, grid_size)
    side = min(0.95 * grid_size, WIDTH - 1.2)
    figure = Figure(figsize=(side + 1.2, side + 0.5), layout='constrained')
    places = figure.subplots(grid_size, grid_size)
    for cell, axis in enumerate(places.flat):
        image = axis.imshow(shares[cell], vmin=0, vmax=100, cmap='cividis')
        row, column = divmod(cell, grid_size)
        frame: Any = dict(fill=False, edgecolor='#d7191c', linewidth=1.5, zorder=3, clip_on=False)
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **frame))
        for (row, column), share in np.ndenumerate(shares[cell]) if grid_size <= 5 else ():
            if share >= 0.5:
                look: Any = dict(ha='center', va='center', fontsize=9 - grid_size)
                axis.text(column, row, f'{share:.0f}', color='white' if share < 60 else 'black', **look)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(True)
    figure.colorbar(image, ax=places, label='predicted share, %', shrink=0.8)
    accuracy = 100 * np.trace(counts) / counts.sum()
    title = f'{_NETS[name][0] if name in _NETS else name}: ' if name else ''
    figure.suptitle(f'{title}{accuracy:.1f}% correct, chance {100 / cells:.1f}%')
    return figure


@styled
def draw_pooled_sums(sums: np.ndarray, cells: np.ndarray, counts: np.ndarray) -> Figure:
    """The sum of the pooled channels for the patches of each cell, cells sorted by it (Sec. 3, location).

    This sum is all that a linear layer sees on average behind a random order of the channels (PermuteNet). A dot is the
    mean of a cell, its bar spans all sums from the smallest to the largest, and its colour is the share of patches
    that are located correctly. The axis is linear up to a 10,000th of the largest sum, and logarithmic above.

    Args:
        sums: Sum of the pooled channels for each image, (N,), finite.
        cells: Cell of each image, from 0, (N,).
        counts: Confusion counts (K, K) of the same images, as for `draw_confusion`.
    """
    sums, counts = np.asarray(sums, dtype=float), np.asarray(counts, dtype=float)
    if not np.isfinite(sums).all():
        raise ValueError('the sums of the pooled channels are not finite: the training diverged')
    seen = np.bincount(cells, minlength=len(counts))
    if sums.shape != cells.shape or not np.array_equal(seen, counts.sum(1)) or not seen.all():
        raise ValueError('sums, cells and counts must be of the same images, with at least one in each cell')
    spread = np.array([(of.mean(), of.min(), of.max()) for of in (sums[cells == k] for k in range(len(counts)))])
    order = np.argsort(spread[:, 0], kind='stable')
    mean, low, high = spread[order].T
    correct = np.diag(counts) / seen
    figure = Figure(figsize=(max(4.5, 1.8 + 0.22 * len(counts)), 3.2), layout='constrained')
    axis = figure.subplots()
    places = np.arange(len(counts))
    axis.vlines(places, low, high, color='0.6', linewidth=2, zorder=1)
    dots = axis.scatter(places, mean, c=100 * correct[order], vmin=0, vmax=100, cmap='cividis', s=28, edgecolors='0.3')
    figure.colorbar(dots, ax=axis, label='located correctly, %')
    largest = np.abs(sums).max() or 1.0
    threshold = largest / 10_000
    axis.set_yscale('symlog', linthresh=threshold)
    axis.set_ylim(2 * low.min() if low.min() < 0 else -threshold / 3, 2 * largest)
    axis.set_ylabel('sum of the pooled channels')
    size = round(len(counts) ** 0.5)
    if len(counts) <= 25:
        axis.set_xticks(places, [f'{cell // size}, {cell % size}' for cell in order], rotation=90)
    axis.set_xlabel('cell: row, column' if len(counts) <= 25 else 'cells, sorted by their sum')
    axis.grid(axis='y')
    return figure


def located_by_sum(sums: np.ndarray, cells: np.ndarray) -> float:
    """How many images, in %, have a sum of channels that is nearest to the mean of their own cell; (N,) each."""
    means = np.bincount(cells, sums) / np.bincount(cells)
    return 100 * float((np.abs(sums[:, None] - means).argmin(1) == cells).mean())
