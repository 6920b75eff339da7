"""Whether the channels of one side harm that side most, with an interval over images (Fig. 6)."""

from typing import NamedTuple

import torch
from torch import Tensor

from mmposenc.image_bootstrap import interval, resampled_sums
from mmposenc.regions.iou import margin_figures


class RegionAttack(NamedTuple):
    """The order of harm at one N in one region (Sec. 4.2.3, Fig. 6).

    Harm is how much mIoU the region loses, in points of percent, when the top N of a ranking are off. Fig. 6 says:
    channels of the region's own side harm it more than overall ones, and those more than channels of the other side.

    Args:
        harm: Of the own side's ranking, the overall one and the other side's.
        first_gap: Own minus overall, then the ends of its 95% interval.
        second_gap: Overall minus other, then the ends of its 95% interval.
        holds: Both gaps are above 0.
        certain: Both intervals are above 0.
        share: In how many percent of the resampled data sets both gaps are above 0.
    """

    harm: tuple[float, float, float]
    first_gap: tuple[float, float, float]
    second_gap: tuple[float, float, float]
    holds: bool
    certain: bool
    share: float


def region_attack(
    baseline: Tensor, own: Tensor, overall: Tensor, other: Tensor, num_resamples: int = 1000, seed: int = 0
) -> RegionAttack:
    """Compare the harm of three rankings in one region, with a bootstrap over images (Sec. 4.2.3, Fig. 6).

    The images of the data set are drawn again with return, the same ones for all four, and mIoU is computed of each
    draw; the intervals are the 2.5th and 97.5th percentiles. With one image there is no spread to see.

    Args:
        baseline: Margins of each image in the region with no channel off, from `confusion_margins`, (images, 3, K).
        own: The same with the top N of the ranking of the region's own side off.
        overall: The same for the overall ranking.
        other: The same for the ranking of the other side.
        num_resamples: Data sets drawn.
        seed: Seed of the draws.

    Raises:
        ValueError: If the margins are not of one shape (images, 3, K), or nothing is to be drawn.
    """
    margins = [baseline, own, overall, other]
    if len({tuple(part.shape) for part in margins}) > 1 or baseline.ndim != 3 or baseline.shape[1] != 3:
        raise ValueError(f'margins must be (images, 3, K) of one shape, got {[tuple(part.shape) for part in margins]}')
    stacked = torch.stack(margins, dim=1).double().cpu()
    harm = _harm(stacked.sum(0))
    gaps = _gaps(harm)
    drawn = torch.cat([_gaps(_harm(sums)) for sums in resampled_sums(stacked, num_resamples, seed)])
    low, high = interval(drawn)
    first, second = ((float(gap), float(a), float(b)) for gap, a, b in zip(gaps, low, high, strict=True))
    return RegionAttack(
        harm=tuple(harm.tolist()),
        first_gap=first,
        second_gap=second,
        holds=bool((gaps > 0).all()),
        certain=bool((low > 0).all()),
        share=100 * float((drawn > 0).all(-1).double().mean()),
    )


def _harm(sums: Tensor) -> Tensor:
    """Loss of mIoU of the last three of four, (..., 4, 3, K) to (..., 3)."""
    miou = margin_figures(sums)['mIoU']
    return miou[..., :1] - miou[..., 1:]


def _gaps(harm: Tensor) -> Tensor:
    return harm[..., :-1] - harm[..., 1:]
