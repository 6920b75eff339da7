"""Pictures of the grid experiments (Sec. 3): the inputs, accuracy against grid size, confusion over the grid."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

# Colours that the colour-blind can tell apart too (Okabe and Ito).
_NETS = {
    'gapnet': ('GAPNet', '#0072b2', 'o'),
    'permutenet': ('PermuteNet', '#d55e00', 's'),
    'sortnet': ('sorted channels (bound)', '#009e73', '^'),
    'sumnet': ('sum of channels (bound)', '#cc79a7', 'v'),
}


def draw_inputs(images: np.ndarray, titles: Sequence[str], grid_size: int) -> Figure:
    """The canvases that a network is shown, one beside the other (Fig. 1, left).

    Args:
        images: Canvases as bytes.
        titles: What stands above each, such as its label.
        grid_size: Cells per side; thin lines that are no part of the input mark them.

    Shape:
        images (N, H, W, 3), uint8.
    """
    columns = min(len(images), 5)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2 * columns, 2.25 * rows + 0.3), layout='constrained')
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.set_axis_off()
    for axis, image, title in zip(axes, images, titles, strict=False):
        height, width = image.shape[:2]
        axis.imshow(image, extent=(0, width, height, 0), interpolation='nearest')
        for i in range(grid_size + 1):
            axis.axhline(i * height / grid_size, color='white', linewidth=0.6, alpha=0.7)
            axis.axvline(i * width / grid_size, color='white', linewidth=0.6, alpha=0.7)
        axis.set_title(title, fontsize=9)
    height, width = images.shape[1:3]
    figure.supxlabel(
        f'{grid_size} x {grid_size} grid, {width} x {height} px; the lines are no part of the input', fontsize=8
    )
    return figure


def draw_accuracy(runs: Sequence[dict]) -> Figure:
    """Accuracy against grid size, a panel per task and padding, the paper's dashed (Table 1).

    Args:
        runs: The `runs` of `table1.json`: dicts of task, padding, net, grid_size, accuracy and paper, in %. Several
            seeds are shown as dots, and the line goes through their mean.

    Raises:
        ValueError: If there is no run.
    """
    if not runs:
        raise ValueError('there is no finished run to draw; train one first')
    tasks = [task for task in ('location', 'category') if any(run['task'] == task for run in runs)]
    paddings = list(dict.fromkeys(run['padding'] for run in runs))
    sizes = sorted({run['grid_size'] for run in runs})
    figure = Figure(figsize=(2.2 + 3.2 * len(paddings), 0.9 + 2.7 * len(tasks)), layout='constrained')
    panels = figure.subplots(len(tasks), len(paddings), squeeze=False, sharex=True, sharey=True)
    for row, task in zip(panels, tasks, strict=True):
        for axis, padding in zip(row, paddings, strict=True):
            chosen = [run for run in runs if (run['task'], run['padding']) == (task, padding)]
            _accuracy_panel(axis, chosen, sizes, task)
            axis.set_title(f'{task}, {padding} padding', fontsize=10)
        row[0].set_ylabel('accuracy of the last epoch, %')
    for axis in panels[-1]:
        axis.set_xlabel('cells per side of the grid')
    _legend(figure, [net for net in _NETS if any(run['net'] == net for run in runs)])
    return figure


def draw_confusion(counts: np.ndarray, grid_size: int) -> Figure:
    """Where patches of each cell are said to be, each cell drawn at its place (ours; Sec. 3, location).

    The panel in row r and column c belongs to the patches that lie there, and is itself a picture of the grid: the
    share of them, in %, that the network puts into each cell. A frame marks the right cell.

    Args:
        counts: Confusion counts; row i holds the samples of cell i, column j those said to be in cell j.
        grid_size: Cells per side.

    Shape:
        counts (grid_size ** 2, grid_size ** 2).

    Raises:
        ValueError: If the counts are not of that shape, or a cell has no sample.
    """
    cells = grid_size**2
    counts = np.asarray(counts, dtype=float)
    if counts.shape != (cells, cells):
        raise ValueError(
            f'counts of a {grid_size}x{grid_size} grid must be of shape ({cells}, {cells}), got {counts.shape}; '
            'a confusion over the grid needs a network that names locations'
        )
    totals = counts.sum(1)
    if not totals.all():
        raise ValueError(f'cell {int(totals.argmin())} has no sample; test on more images')
    shares = 100 * counts / totals[:, None]
    side = max(1.15 * grid_size, 4.0)
    figure = Figure(figsize=(side + 1.3, side + 0.9), layout='constrained')
    panels = figure.subplots(grid_size, grid_size)
    for cell, axis in enumerate(panels.flat):
        image = axis.imshow(shares[cell].reshape(grid_size, grid_size), vmin=0, vmax=100, cmap='cividis')
        row, column = divmod(cell, grid_size)
        axis.add_patch(_frame(column, row))
        if grid_size <= 5:
            _write_shares(axis, shares[cell].reshape(grid_size, grid_size), 9 - grid_size)
        axis.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=panels, label='share of the patches of a cell, %', shrink=0.8)
    accuracy = 100 * np.trace(counts) / counts.sum()
    figure.suptitle(f'accuracy {accuracy:.1f} % (chance {100 / cells:.1f} %)', fontsize=11)
    figure.supxlabel('panel: where the patch is; inside it: where it is said to be (red frame: right)', fontsize=8)
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a picture whole or not at all; the suffix says the format (ours)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.part')
    figure.savefig(part, format=path.suffix[1:] or 'png', dpi=150)
    os.replace(part, path)
    return path


def _accuracy_panel(axis: Axes, runs: list[dict], sizes: list[int], task: str) -> None:
    for net in dict.fromkeys(run['net'] for run in runs):
        _, colour, marker = _NETS[net]
        own = sorted((run for run in runs if run['net'] == net), key=lambda run: run['grid_size'])
        axis.plot(
            [run['grid_size'] for run in own], [run['accuracy'] for run in own], marker, color=colour, markersize=5
        )
        reached = {run['grid_size']: [r['accuracy'] for r in own if r['grid_size'] == run['grid_size']] for run in own}
        axis.plot(list(reached), [np.mean(values) for values in reached.values()], color=colour)
        paper = {run['grid_size']: run['paper'] for run in own if run['paper'] is not None}
        style: dict[str, Any] = {'linestyle': '--', 'linewidth': 1, 'markerfacecolor': 'white', 'markersize': 5}
        axis.plot(list(paper), list(paper.values()), marker=marker, color=colour, zorder=1, **style)
    chance = [100 / n**2 if task == 'location' else 10 for n in sizes]
    axis.plot(sizes, chance, color='0.5', linestyle=':', marker='.')
    # A little more than 0 to 100, so that a marker at either end is whole.
    axis.set(xticks=sizes, xticklabels=[f'{n} x {n}' for n in sizes], ylim=(-3, 103))
    axis.margins(x=0.08)
    axis.grid(alpha=0.3)


def _legend(figure: Figure, nets: list[str]) -> None:
    lines = [Line2D([], [], color=_NETS[net][1], marker=_NETS[net][2], label=_NETS[net][0]) for net in nets]
    lines.append(Line2D([], [], color='0.2', linestyle='--', marker='o', markerfacecolor='white', label="the paper's"))
    lines.append(Line2D([], [], color='0.5', linestyle=':', marker='.', label='chance'))
    figure.legend(handles=lines, loc='outside lower center', ncols=3, fontsize=8, frameon=False)


def _frame(column: int, row: int) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor='#d7191c', linewidth=1.5)


def _write_shares(axis: Axes, shares: np.ndarray, size: float) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = 'white' if share < 60 else 'black'
            axis.text(column, row, f'{share:.0f}', ha='center', va='center', color=colour, fontsize=size)
