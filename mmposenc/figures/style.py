"""The look of every figure: fonts, colours, panels, legends, files."""

import io
from collections.abc import Iterable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mmposenc.results import atomic_write

# Okabe and Ito's colours, which people who are colour-blind can tell apart too, and a brown.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'
BROWN, GREY = '#8c6d3f', '0.45'
COLOURS, MARKERS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, 'black', BROWN), 'os^vDPX*'
WIDTH = 10.5
"""Inches that a page of a report has room for; every figure is at most as wide, so that all text has one size."""

_LOOK: dict[Any, Any] = (
    dict.fromkeys(['font.size', 'axes.titlesize', 'axes.labelsize'], 9)
    | dict.fromkeys(['xtick.labelsize', 'ytick.labelsize', 'legend.fontsize'], 8)
    | dict.fromkeys(['legend.frameon', 'axes.spines.top', 'axes.spines.right'], False)
    | {'figure.titlesize': 10, 'grid.alpha': 0.3, 'lines.linewidth': 1.4, 'lines.markersize': 4}
    | {'svg.hashsalt': 'mmposenc'}
)
styled = matplotlib.rc_context(_LOOK)
"""Decorator of a function that draws."""


def panels(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure and its panels (rows, columns), each `width` x `height` inches unless the page has less room."""
    figure = Figure(figsize=(min(columns * width, WIDTH), rows * height), layout='constrained')
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def line_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line by name; after eight names the colours start again, dashed."""
    pairs = list(zip(COLOURS, MARKERS, strict=True))
    looks = [dict(color=colour, marker=marker, linestyle=line) for line in ('-', '--') for colour, marker in pairs]
    return dict(zip(names, cycle(looks), strict=False))


def shared_legend(figure: Figure, columns: int = 4, handles: Mapping[str, Any] | None = None) -> None:
    """One legend below all panels, each label once; of all panels' labels unless handles are given by label."""
    found: dict[str, Any] = dict(handles or {})
    for axis in figure.axes if handles is None else ():
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(list(found.values()), list(found), loc='outside lower center', ncols=columns)


@styled
def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure; the suffix says the format. The file is written completely or not at all."""
    content, suffix = io.BytesIO(), Path(path).suffix[1:] or 'png'
    # Without a date, the same figure gives the same file.
    figure.savefig(content, format=suffix, dpi=150, metadata={'Date': None} if suffix == 'svg' else None)
    return atomic_write(path, content.getvalue())
