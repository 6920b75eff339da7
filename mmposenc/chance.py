"""Whether a ranking does more than chance: the one statistical test of the package.

Chance is an order of the channels drawn at random. A harm curve is what a metric loses at each N when the first N
channels of an order are ablated, in the metric's own unit (points of mIoU or Top-1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from mmposenc.results import Result

Alternative = Literal['greater', 'less', 'two-sided']
Curves = np.ndarray | Tensor
FEWEST = {'greater': 19, 'less': 19, 'two-sided': 39}
"""Random orders with which each alternative can reach p = 0.05."""
TIE = 1e-9
"""Harms that differ by no more than this are equal, whatever the order of summation."""


@dataclass(frozen=True, eq=False)
class ChanceTest(Result):
    """A harm curve against those of random orders.

    Args:
        p: p value of the mean harm over all N, (K,), or a float where the harm was (M,). Claims are made with this one.
        p_by_n: p value at each N alone, of the harm's shape.
        p_max: p value at each N, adjusted for having looked at all N. Never below `p_by_n`.
        harm, random, excess: As given; mean harm of the random orders, (M,); their difference.
        low, high: Ends of the band in which the excess of 95% of single random orders lies, (M,).
        num_random: Random orders R. No p value is below 1 / (R + 1).
    """

    FORMAT: ClassVar[str] = 'mmposenc.chance/1'

    p: Tensor | float
    p_by_n: Tensor
    p_max: Tensor
    harm: Tensor
    random: Tensor
    excess: Tensor
    low: Tensor
    high: Tensor
    alternative: Alternative
    num_random: int

    def table(self) -> list[dict[str, Any]]:
        """One row for each ranking and N, by their positions in `harm`."""
        names = ('harm', 'excess', 'p_by_n', 'p_max', 'random', 'low', 'high')
        p_values = torch.as_tensor(self.p, dtype=torch.float64).view(-1).tolist()
        shape = (len(p_values), len(self.random))
        columns = {name: getattr(self, name).expand(shape).tolist() for name in names}
        return [
            {'ranking': k, 'n': n, **{name: column[k][n] for name, column in columns.items()}, 'p': p}
            for k, p in enumerate(p_values)
            for n in range(len(self.random))
        ]


def chance_test(harm: Curves, random_harm: Curves, alternative: Alternative = 'greater') -> ChanceTest:
    """Test whether rankings harm more than random orders of the channels do (Sec. 4.2.2, Fig. 4 top).

    A ranking that is no better than chance is one more random order, so p = (1 + number of random orders whose
    statistic is at least as large) / (R + 1) holds whatever the spread between images or orders. The random orders must
    be nested (N channels are among the first N + 1) and measured on the same images. The statistic of `p` is the mean
    harm over all N; `p_max` compares the standardised harm at each N with the largest one of every curve. N at which
    all curves agree (0 or all channels) have p values of 1.

    Each ranking is tested alone: correct for the number of rankings, layers and regions that you make claims about.

    Args:
        harm: Harm at each N, (M,), or of several rankings (K, M).
        random_harm: Harm of R random orders at the same N, (R, M). Below R = 19 (39 for 'two-sided') p = 0.05 is out
            of reach, a ValueError; 39 is a good choice.
        alternative: 'greater' (the ranking harms more), 'less' or 'two-sided' (twice the smaller p value).

    Example:
        >>> import numpy as np
        >>> random_harm = np.random.default_rng(0).normal(5, 1, (39, 4))
        >>> chance_test(np.array([9.0, 9.0, 9.0, 9.0]), random_harm).p
        0.025
    """
    if alternative not in FEWEST:
        raise ValueError(f'alternative must be one of {", ".join(FEWEST)}, got {alternative!r}')
    own, random = _array(harm), _array(random_harm)
    if own.ndim not in (1, 2) or random.ndim != 2 or own.shape[-1] != random.shape[-1] or not own.numel():
        got = f'{tuple(own.shape)} and {tuple(random.shape)}'
        raise ValueError(f'harm must be (N,) or (rankings, N) and random_harm (R, N) at the same N, got {got}')
    _check_enough(len(random), alternative)
    tested = [_test(curve, random, alternative) for curve in own.reshape(-1, own.shape[-1])]
    p, p_by_n, p_max = (torch.stack(values) for values in zip(*tested, strict=True))
    mean, width = random.mean(0), float(stdtrit(len(random) - 1, 0.975)) * random.std(0) * (1 + 1 / len(random)) ** 0.5
    p_values = p if own.ndim == 2 else float(p), p_by_n.view_as(own), p_max.view_as(own)
    return ChanceTest(*p_values, own, mean, own - mean, -width, width, alternative, len(random))


@dataclass(frozen=True, eq=False)
class Dissociation(Result):
    """Whether the left ranking harms the left half and the right one the right half (Fig. 6 as one number).

    Args:
        difference, p: D, in points of the metric, and its p value.
        harm: Mean harm over N of the left, the overall and the right ranking (columns; NaN for one that was not given)
            in the left and the right region (rows), (2, 3).
        order: At which N the order of Fig. 6, own > overall > other, holds in the left and in the right region, (2, M).
            A description, not a test. All False without an overall ranking.
        num_random: Random orders R.
    """

    FORMAT: ClassVar[str] = 'mmposenc.dissociation/1'

    difference: float
    p: float
    harm: Tensor
    order: Tensor
    num_random: int

    def table(self) -> list[dict[str, Any]]:
        """One row for each region."""
        names = ('region', 'harm_left', 'harm_overall', 'harm_right', 'order_at', 'of', 'difference', 'p')
        rows = zip(('left', 'right'), self.harm.tolist(), self.order, strict=True)
        return [
            dict(zip(names, (region, *harm, int(order.sum()), len(order), self.difference, self.p), strict=True))
            for region, harm, order in rows
        ]


def dissociation(
    left: Curves,
    right: Curves,
    random_harm: Curves,
    reversed_random_harm: Curves | None = None,
    overall: Curves | None = None,
) -> Dissociation:
    """Test the double dissociation of a left and a right ranking (Sec. 4.2.3, Fig. 6).

    With g = (mean harm in the left region) - (mean harm in the right region) of an order, D = g(left) - g(right). Its
    p value is the share of all ordered pairs of the R + 2 orders, the two rankings included, whose D is at least as
    large.

    Harms of rankings that oppose each other, such as one signed ranking and its reverse, are bound to each other, and
    pairs of independent orders would reject too often. Give `reversed_random_harm` where the rankings correlate below
    0: then each of the R + 1 orders is compared with its own reverse, which is exact for reversed rankings and
    conservative for others.

    Args:
        left, right: Harm of the two rankings in the left and the right region (rows) at each N, (2, M).
        random_harm: Of R random orders, (R, 2, M).
        reversed_random_harm: Of the same orders reversed, for rankings that oppose each other.
        overall: Of the ranking by Eq. 2, for `Dissociation.order`.
    """
    one, two, random = _array(left), _array(right), _array(random_harm)
    middle = one if overall is None else _array(overall)
    reverse = random if reversed_random_harm is None else _array(reversed_random_harm)
    fits = one.ndim == 2 and len(one) == 2 and one.numel() and random.shape[1:] == one.shape
    if not fits or not one.shape == two.shape == middle.shape or reverse.shape != random.shape:
        got = [tuple(part.shape) for part in (one, two, middle, random, reverse)]
        raise ValueError(f'left, right and overall must be (2, N), a row for each half, random (R, 2, N), got {got}')
    _check_enough(len(random), 'greater')
    if reversed_random_harm is None:
        g = _preference(torch.cat([torch.stack([one, two]), random]))
        differences = (g[:, None] - g)[~torch.eye(len(g), dtype=torch.bool)]
    else:
        differences = _preference(torch.cat([one[None], random])) - _preference(torch.cat([two[None], reverse]))
    difference = float(_preference(one) - _preference(two))
    order = torch.stack([(one > middle)[0] & (middle > two)[0], (two > middle)[1] & (middle > one)[1]])
    harm = torch.stack([one, middle * (1 if overall is not None else torch.nan), two]).mean(-1).T
    return Dissociation(difference, float((differences >= difference - TIE).double().mean()), harm, order, len(random))


def image_interval(
    images: Tensor, figure: Callable[[Tensor], Tensor], num_resamples: int = 1000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The 2.5th and 97.5th percentile of a figure over the choice of images, by a bootstrap.

    It shows how much the harm of these very channels would vary with other images; whether other channels would have
    done the same, `chance_test` says. Images are resampled with replacement, the same ones for all variants. `images`
    are sums of each image, (images, ...), such as confusion margins or hits; `figure` gives the figure of sums over
    images: (draws, ...) to (draws, ...), NaN where a draw has none.
    """
    number = len(images)
    if not number or num_resamples < 1:
        raise ValueError(f'images and num_resamples must be at least 1, got {number} and {num_resamples}')
    times = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), num_resamples)
    flat = images.flatten(1).double().cpu()
    parts = torch.from_numpy(times).double().split(100)
    drawn = [figure((part @ flat).view(len(part), *images.shape[1:])) for part in parts]
    low, high = torch.cat(drawn).nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return low, high


def _array(curves: Curves) -> Tensor:
    array = curves if isinstance(curves, Tensor) else torch.from_numpy(np.array(curves, dtype=np.float64))
    array = array.detach().cpu().double()
    if not array.isfinite().all():
        raise ValueError('a harm is NaN or infinite: leave out regions without labelled pixels')
    return array


def _check_enough(number: int, alternative: Alternative) -> None:
    if number < FEWEST[alternative]:
        needed = f'{alternative!r} needs at least {FEWEST[alternative]}; the default of a sweep is 39'
        raise ValueError(f'{number} random orders cannot reach p = 0.05: {needed}')


def _test(own: Tensor, random: Tensor, alternative: Alternative) -> tuple[Tensor, ...]:
    """p, p_by_n and p_max of one curve."""
    if alternative != 'two-sided':
        sign = 1 if alternative == 'greater' else -1
        return _upper_tail(sign * own, sign * random)
    tails = zip(_upper_tail(own, random), _upper_tail(-own, -random), strict=True)
    return tuple((2 * torch.minimum(upper, lower)).clamp(max=1) for upper, lower in tails)


def _upper_tail(own: Tensor, random: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    curves = torch.cat([own[None], random])  # The ranking counts as one of the R + 1 orders.
    mean = curves.mean(1)
    p = (mean >= mean[0] - TIE).double().mean()
    p_by_n = (curves >= own - TIE).double().mean(0)
    p_max = torch.ones_like(own)
    live = curves.amax(0) - curves.amin(0) > TIE
    if live.any():
        spread = curves[:, live].std(0)
        standardised = (curves[:, live] - curves[:, live].mean(0)) / spread
        p_max[live] = (standardised.amax(1)[:, None] >= standardised[0] - TIE / spread).double().mean(0)
    return p, p_by_n, p_max


def _preference(harm: Tensor) -> Tensor:
    """Mean harm in the left region minus that in the right one, (..., 2, M) to (...)."""
    return harm[..., 0, :].mean(-1) - harm[..., 1, :].mean(-1)
