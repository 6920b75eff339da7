"""Reading the cell from pooled features by linear discriminant analysis, in closed form."""

from collections.abc import Callable, Sequence

import torch
from scipy.special import stdtrit
from torch import Tensor

SHRINKAGES = (1e-4, 1e-3, 1e-2, 0.1, 0.5)
"""Shrinkage of the within-class covariance towards the identity that `read_cells` chooses from."""


def _summed(z: Tensor) -> Tensor:
    total = z.sum(-1, keepdim=True)
    return total * (total.var() > 1e-10 * z.var((0, 1)).sum())  # Layer normalisation leaves rounding errors.


READOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    'order': lambda z: z,
    'sorted': lambda z: z.sort(dim=-1, descending=True).values,
    'sum': _summed,
    'shuffled': lambda z: z.gather(-1, torch.rand(z.shape, generator=torch.Generator().manual_seed(0)).argsort(-1)),
}
"""What a read-out sees of a canvas' pooled features: all of z; its values without their order (`SortedPoolNeck`); one
number (`SumPoolNeck`); a random order for each canvas (`PermuteNeck`)."""

Curve = tuple[tuple[int, float, float, float], ...]


def read_cells(features: Tensor, train_images: Sequence[int] | None = None) -> dict[str, Curve]:
    """Accuracy with which the cell is predicted from pooled features, as a curve over the number of training images.

    A quarter of the images, drawn with a fixed seed, is for testing; the training images of a shorter curve point are
    among those of a longer one. For each point the shrinkage is chosen from `SHRINKAGES` on the training images alone,
    by fitting on one half and testing on the other and the reverse; of equals, the largest. Features are divided by
    their standard deviation first.

    Args:
        features: Pooled features, (I, C, K), at least 8 images.
        train_images: Numbers of training images; default 25, 100, 300 and 1000, as far as there are more, and all.

    Returns:
        For each of `READOUTS`, points (training images, accuracy, low, high), in %. The interval is of the mean over
        test images (t distribution), whose cells are not independent of one another.
    """
    images, cells, _ = features.shape
    if images < 8:
        raise ValueError(f'read-outs take at least 8 images, got {images}')
    available = images - images // 4
    if train_images is None:
        train_images = [*(n for n in (25, 100, 300, 1000) if n < available), available]
    sizes = sorted(set(train_images))
    if not sizes or sizes[0] < 4 or sizes[-1] > available:
        raise ValueError(f'train_images must be from 4 to {available} of the {images} images, got {sizes}')
    order = torch.randperm(images, generator=torch.Generator().manual_seed(0))
    curves = {}
    for name, view in READOUTS.items():
        z = view(features.double().cpu())[order]
        points = []
        for size in sizes:
            ((weights, bias),) = fit_lda(z[:size], [choose_shrinkage(z[:size])])
            hits = predict_cells(z[available:], weights, bias) == torch.arange(cells)
            points.append((size, *t_interval(100 * hits.double().mean(1), 0.0, 100.0)))
        curves[name] = tuple(points)
    return curves


def fit_lda(train: Tensor, shrinkages: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
    """Weights (K, C) and bias (C,) of the linear discriminant of the cells of features (I, C, K), for each shrinkage.

    The covariance is `(1 - s) S + s tr(S) / K I`, with S the covariance within the cells of the features divided by
    their standard deviation. Cells are equally likely.
    """
    centre = train.mean((0, 1))
    variance = train.var((0, 1))
    scale = torch.where(variance > 1e-10 * variance.median(), variance, torch.inf).rsqrt()
    z = (train - centre) * scale
    means = z.mean(0)
    within = (z - means).flatten(0, 1)
    within = within / len(within) ** 0.5
    spread = (within.square().sum() / len(scale)).clamp(min=1e-20)  # Images may all be alike.
    # The smaller of S and its Gram matrix, by the Woodbury identity.
    small = len(within) < len(scale)
    covariance = within @ within.T if small else within.T @ within
    identity = torch.eye(len(covariance), dtype=z.dtype)
    fits = []
    for shrinkage in shrinkages:
        factor = torch.linalg.cholesky((1 - shrinkage) * covariance + shrinkage * spread * identity)
        if small:
            inside = within.T @ torch.cholesky_solve(within @ means.T, factor)
            weights = (means.T - (1 - shrinkage) * inside) / (shrinkage * spread)
        else:
            weights = torch.cholesky_solve(means.T, factor)
        bias = -0.5 * (means.T * weights).sum(0)
        weights = weights * scale[:, None]
        fits.append((weights, bias - centre @ weights))
    return fits


def choose_shrinkage(train: Tensor) -> float:
    """The shrinkage with which either half of the training images predicts the cells of the other best."""
    half = len(train) // 2
    labels = torch.arange(train.shape[1])
    hits = torch.zeros(len(SHRINKAGES))
    for fitted, other in ((train[:half], train[half:]), (train[half:], train[:half])):
        for index, (weights, bias) in enumerate(fit_lda(fitted, SHRINKAGES)):
            hits[index] += (predict_cells(other, weights, bias) == labels).sum()
    return max(zip(hits.tolist(), SHRINKAGES, strict=True))[1]


def predict_cells(features: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """The most likely cell of each canvas. Without position, one for all cells of an image."""
    return (features @ weights + bias).argmax(-1)


def t_interval(values: Tensor, least: float, most: float) -> tuple[float, float, float]:
    """The mean of independent values with its 95% interval (t distribution), within bounds."""
    mean, number = values.mean().item(), len(values)
    half = float(stdtrit(number - 1, 0.975)) * (values.std() / number**0.5).item()
    return mean, max(mean - half, least), min(mean + half, most)
