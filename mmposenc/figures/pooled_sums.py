"""How a network tells cells apart whose read-out has no order: by the sum of its channels (Sec. 3)."""

import numpy as np
from matplotlib.figure import Figure


def draw_pooled_sums(sums: np.ndarray, cells: np.ndarray, counts: np.ndarray) -> Figure:
    """The sum of the pooled channels for the patches of each cell, the cells in its order (ours; Sec. 3, location).

    All that a linear layer sees on average behind a random order of the channels (PermuteNet). A dot is the mean of a
    cell, its bar reaches from the smallest sum to the largest, its colour is the share of patches named rightly. The
    axis is linear up to a 10,000th of the largest sum, and logarithmic above.

    Args:
        sums: Sum of the pooled channels for each image.
        cells: Cell of each image, from 0.
        counts: Confusion counts of the same images; row i holds those of cell i, column j those said to be in cell j.

    Shape:
        sums (N,); cells (N,), integers; counts (K, K).

    Raises:
        ValueError: If a sum is not finite, or the images are not those that were counted.
    """
    sums, cells, counts = np.asarray(sums, dtype=float), np.asarray(cells), np.asarray(counts, dtype=float)
    if not np.isfinite(sums).all():
        raise ValueError('the sums of the pooled channels are not finite: the training diverged')
    seen = np.bincount(cells, minlength=len(counts))
    if sums.shape != cells.shape or not np.array_equal(seen, counts.sum(1)) or not seen.all():
        raise ValueError('sums, cells and counts must be of the same images, with one in each cell at least')
    spread = np.array([(of.mean(), of.min(), of.max()) for of in (sums[cells == k] for k in range(len(counts)))])
    order = np.argsort(spread[:, 0], kind='stable')
    mean, low, high = spread[order].T
    right = np.diag(counts) / counts.sum(1)
    figure = Figure(figsize=(max(4.5, 1.8 + 0.22 * len(counts)), 3.4), layout='constrained')
    axis = figure.subplots()
    places = np.arange(len(counts))
    axis.vlines(places, low, high, color='0.6', linewidth=2, zorder=1)
    dots = axis.scatter(places, mean, c=100 * right[order], vmin=0, vmax=100, cmap='cividis', s=28, edgecolors='0.3')
    figure.colorbar(dots, ax=axis, label='named rightly, %')
    largest = np.abs(sums).max() or 1.0
    threshold = largest / 10_000
    axis.set_yscale('symlog', linthresh=threshold)
    axis.set_ylim(2 * low.min() if low.min() < 0 else -threshold / 3, 2 * largest)
    axis.set_ylabel('sum of the pooled channels')
    size = round(len(counts) ** 0.5)
    if len(counts) <= 25:
        axis.set_xticks(places, [f'{cell // size}, {cell % size}' for cell in order], rotation=90, fontsize=8)
    axis.set_xlabel('cell: row, column' if len(counts) <= 25 else 'cells, by their sum')
    axis.grid(axis='y', alpha=0.3)
    axis.spines[['top', 'right']].set_visible(False)
    axis.set_title(f'as much as {right.sum():.1f} of {len(counts)} cells named rightly', fontsize=10)
    return figure
