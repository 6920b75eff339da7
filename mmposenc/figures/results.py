"""Figures of a ranking and of a consistency card."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from mmposenc.figures.style import BLUE, VERMILION, panels, shared_legend, styled
from mmposenc.figures.sweeps import ranking_labels
from mmposenc.ranking import Ranking

if TYPE_CHECKING:
    from mmposenc.shifts import ConsistencyCard


@styled
def draw_ranking(ranking: Ranking) -> Figure:
    """The scores of a ranking, highest first."""
    figure, ((axis,),) = panels(1, 1, 5, 3)
    axis.plot([ranking.scores[channel] for channel in ranking.order], color=BLUE)
    (label,) = ranking_labels({ranking.statistic: ranking}).values()
    axis.set(xlabel='rank of the channel', ylabel='score', title=f'{ranking.model} {ranking.layer}: {label}'.strip())
    axis.grid(True)
    return figure


@styled
def draw_consistency(card: 'ConsistencyCard') -> Figure:
    """Consistency under shifts by protocol and N, with 95% intervals (Cons.N of Table 2)."""
    rows = card.table()
    names = [row['protocol'] + (f', {row["max_shift"]} px' if row['max_shift'] else '') for row in rows]
    figure, ((axis,),) = panels(1, 1, 6, 1.5 + 0.3 * len(rows))
    kinds = (('consistency', 'all images', BLUE), ('consistency_correct', 'first view correct', VERMILION))
    for offset, (name, label, colour) in zip((-0.12, 0.12), kinds, strict=True):
        values, *ends = np.array([[row[f'{name}{end}'] for end in ('', '_low', '_high')] for row in rows]).T
        places = np.arange(len(rows)) + offset
        axis.errorbar(values, places, xerr=abs(values - ends), fmt='o', color=colour, capsize=3, label=label)
    axis.set_yticks(range(len(rows)), names)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel('images whose two views get the same label (%), with 95% interval')
    axis.set_title(f'Top-1 {card.top1:.1f}%, {card.images:,} images')
    axis.grid(axis='x')
    shared_legend(figure)
    return figure
