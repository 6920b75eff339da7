"""Position variance: how much of a pooled feature's variance the cell explains, whatever the patch shows.

Two-way analysis of variance with one observation per image and cell, images random, cells fixed, for each channel:
`z = mean + content_image + position_cell + interaction_image,cell`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

AXES = ('top_bottom', 'left_right', 'vertical_even', 'horizontal_even', 'rest')
"""Parts of position. The first four can be asked for as signed rankings."""
COMPONENTS = ('position', 'content', 'interaction', *AXES)
_CHUNK = 128


@dataclass(frozen=True, eq=False)
class PositionVariance:
    """Components of the variance of each channel, and their shares averaged over the live channels.

    Args:
        components: Variance by name of `COMPONENTS`, (K,), in squared units of the features. Not clamped: a component
            that is absent is below zero half of the time.
        total: Position, content and interaction together, (K,).
        live: Channels whose variance is above 1e-10 of the median channel's, (K,).
        shares: (share, low, high) in % of the total by name, the mean over the live channels with its 95% jackknife
            interval over images.
    """

    components: dict[str, Tensor]
    total: Tensor
    live: Tensor
    shares: dict[str, tuple[float, float, float]]


def position_variance(features: Tensor, grid_size: int) -> PositionVariance:
    """Components of variance by cell, image and both (Sec. 3 asks for the first).

    With I images and C cells, MS the mean squares, and cells fixed (interactions sum to zero over the cells of an
    image): position `(MS_cell - MS_interaction) / I * (C - 1) / C`, content `MS_image / C`, interaction
    `MS_interaction * (C - 1) / C`. Position is the sum of the squared orthonormal contrasts of the cell means, each
    corrected by its own variance over images, which splits it by axis: `top_bottom` and `left_right` are the
    antisymmetric parts of the main effects of row and column, `vertical_even` and `horizontal_even` their symmetric
    parts (middle against edges), `rest` is row x column.

    Args:
        features: Pooled features, (I, C, K), cells row-major, at least 3 images.
        grid_size: Cells per side; C is its square.
    """
    images, cells, channels = features.shape
    if images < 3:
        raise ValueError(f'position variance takes at least 3 images, got {images}')
    contrasts = cell_contrasts(grid_size)
    wholes, jackknifed = [], []
    for z in features.split(_CHUNK, -1):
        z = z.double().cpu()
        means = z.mean(1, keepdim=True)
        within = z - means
        scores = {axis: torch.einsum('pc,ick->ipk', basis, within) for axis, basis in contrasts.items()}
        wholes.append(_components(_moments, scores, means, images, cells))
        jackknifed.append(_components(_moments_without_each, scores, means, images - 1, cells))
    whole = {name: torch.cat([part[name] for part in wholes], -1) for name in COMPONENTS}
    without = {name: torch.cat([part[name] for part in jackknifed], -1) for name in COMPONENTS}
    total, totals = (part['position'] + part['content'] + part['interaction'] for part in (whole, without))
    live = total > 1e-10 * total.median()
    if not live.any():
        raise ValueError(f'all {channels} channels are constant, so there is no variance to divide')
    lives = totals > 1e-10 * totals.median(-1, keepdim=True).values  # A channel may live by one image alone.
    shares = {}
    for name in COMPONENTS:
        share = 100 * (whole[name][live] / total[live]).mean().item()
        left = 100 * torch.where(lives, without[name] / totals, torch.nan)[:, live].nanmean(-1)
        spread = ((left - left.mean()).square().sum() * (images - 1) / images).sqrt().item()
        half = float(stdtrit(images - 1, 0.975)) * spread
        shares[name] = (share, share - half, share + half)
    return PositionVariance(whole, total, live, shares)


def cell_contrasts(grid_size: int) -> dict[str, Tensor]:
    """Orthonormal contrasts of the cells by axis, each (number, C), cells row-major.

    Products of orthogonal polynomials of row and column. The first contrast of an axis is linear (positive on the top
    or left) or quadratic (positive in the middle).
    """
    places = np.arange(grid_size) - (grid_size - 1) / 2
    columns, _ = np.linalg.qr(np.vander(places, increasing=True))
    flat = np.full(grid_size, grid_size**-0.5)
    # Odd degrees begin at the top or left with a positive value, even ones are positive in the middle.
    waves = [w * np.sign(w[0]) * (1 if degree % 2 else -1) for degree, w in enumerate(columns.T)][1:]
    bases = {
        'top_bottom': [np.outer(w, flat) for w in waves[::2]],
        'left_right': [np.outer(flat, w) for w in waves[::2]],
        'vertical_even': [np.outer(w, flat) for w in waves[1::2]],
        'horizontal_even': [np.outer(flat, w) for w in waves[1::2]],
        'rest': [np.outer(v, w) for v in waves for w in waves],
    }
    return {axis: torch.from_numpy(np.reshape(rows, (-1, grid_size**2)).copy()) for axis, rows in bases.items()}


def _moments(y: Tensor) -> tuple[Tensor, Tensor]:
    mean = y.mean(0)
    return mean, (y - mean).square().sum(0) / (len(y) - 1)


def _moments_without_each(y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the others, for each image left out."""
    images, mean = len(y), y.mean(0)
    away = y - mean
    squares = away.square().sum(0) - away.square() * images / (images - 1)
    return mean - away / (images - 1), squares / (images - 2)


def _components(
    moments: Callable[[Tensor], tuple[Tensor, ...]], scores: dict[str, Tensor], means: Tensor, images: int, cells: int
) -> dict[str, Tensor]:
    # Contrasts lie in the last dimension but one; the means of images have one "contrast" there.
    found = {axis: moments(y) for axis, y in scores.items()}
    parts = {axis: (mean.square() - var / images).sum(-2) / cells for axis, (mean, var) in found.items()}
    interaction = torch.stack([var.sum(-2) for _, var in found.values()]).sum(0) / cells
    position = torch.stack(list(parts.values())).sum(0)
    return {'position': position, 'content': moments(means)[1].sum(-2), 'interaction': interaction, **parts}
