"""The look of every figure: fonts, colours, panels, legends, files."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mmposenc.results import atomic_write

# Okabe and Ito's colours, which people who are colour-blind can tell apart too.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'
GREY = '0.45'
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, 'black')
MARKERS = ('o', 's', '^', 'v', 'D', 'P', 'X')
DPI = 150
WIDTH = 10.5
"""Inches that a page of a report has room for; every figure is at most as wide, so that all text has one size."""

styled = matplotlib.rc_context(
    {
        'font.size': 9,
        'axes.titlesize': 9,
        'axes.labelsize': 9,
        'xtick.labelsize': 8,
        'ytick.labelsize': 8,
        'legend.fontsize': 8,
        'legend.frameon': False,
        'figure.titlesize': 10,
        'axes.spines.top': False,
        'axes.spines.right': False,
        'grid.alpha': 0.3,
        'lines.linewidth': 1.4,
        'lines.markersize': 4,
        'svg.hashsalt': 'mmposenc',
    }
)
"""Decorator of a function that draws."""


def panels(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of panels, each `width` x `height` inches unless the page has less room.

    Returns:
        The figure, and its panels in an array (rows, columns).
    """
    figure = Figure(figsize=(min(columns * width, WIDTH), rows * height), layout='constrained')
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def line_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker by name; after seven names they start again, dashed."""
    return {
        name: dict(
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            linestyle='-' if i < len(COLOURS) else '--',
        )
        for i, name in enumerate(names)
    }


def shared_legend(figure: Figure, columns: int = 4, handles: Mapping[str, Any] | None = None) -> None:
    """One legend below all panels, each label once."""
    found: dict[str, Any] = dict(handles or {})
    for axis in figure.axes if handles is None else ():
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(list(found.values()), list(found), loc='outside lower center', ncols=columns)


@styled
def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure; the suffix says the format. The file is written completely or not at all."""
    path = Path(path)
    content = io.BytesIO()
    suffix = path.suffix[1:] or 'png'
    # Without a date, the same figure gives the same file.
    figure.savefig(content, format=suffix, dpi=DPI, metadata={'Date': None} if suffix == 'svg' else None)
    return atomic_write(path, content.getvalue())
