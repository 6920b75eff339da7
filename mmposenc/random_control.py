"""Whether the channels of a ranking harm more than as many random ones, with an interval (Fig. 4, top row)."""

from typing import NamedTuple

import torch
from torch import Tensor

from mmposenc.image_bootstrap import interval, resampled_sums
from mmposenc.regions.iou import margin_figures


class RandomControl(NamedTuple):
    """What a ranking does beyond chance at one N in one region (Sec. 4.2.2, Fig. 4).

    Harm is how much mIoU the region loses, in points of percent, when N channels are off.

    Args:
        harm: Of the top N of the ranking.
        random: Of N random channels, the mean over the draws.
        excess: The first minus the second, then the ends of its 95% interval.
    """

    harm: float
    random: float
    excess: tuple[float, float, float]


def random_control(
    baseline: Tensor, ranked: Tensor, drawn: Tensor, num_resamples: int = 1000, seed: int = 0
) -> list[RandomControl]:
    """Compare the harm of rankings with that of random channels, with a bootstrap over images and draws (Fig. 4).

    Images and random draws are drawn again with return, the same ones for every ranking; the interval is from the
    2.5th to the 97.5th percentile. With few draws it is a little short: the mean of five spreads more than five show.

    Args:
        baseline: Margins of each image in the region with no channel off, from `confusion_margins`, (images, 3, K).
        ranked: The same with the top N of each ranking off, (images, rankings, 3, K).
        drawn: The same with N random channels off, (images, draws, 3, K).
        num_resamples: Times that images and draws are drawn again.
        seed: Seed of that.

    Returns:
        One for each ranking.

    Raises:
        ValueError: If the shapes differ, a ranking or a draw is missing, or nothing is to be drawn.
    """
    shapes = [tuple(part.shape) for part in (baseline, ranked, drawn)]
    whole = baseline.ndim == 3 and baseline.shape[1] == 3 and ranked.ndim == drawn.ndim == 4
    if not whole or len({(shape[0], *shape[-2:]) for shape in shapes}) > 1 or not ranked.shape[1] * drawn.shape[1]:
        raise ValueError(f'margins must be (images, 3, K) and twice (images, runs, 3, K), got {shapes}')
    number = ranked.shape[1]
    images = torch.cat([baseline[:, None], ranked, drawn], dim=1).double().cpu()
    harm = _harm(images.sum(0))
    again = torch.cat([_harm(sums) for sums in resampled_sums(images, num_resamples, seed)])
    draws = torch.randint(drawn.shape[1], again[:, number:].shape, generator=torch.Generator().manual_seed(seed))
    low, high = interval(again[:, :number] - again[:, number:].gather(1, draws).mean(1, keepdim=True))
    chance = float(harm[number:].mean())
    return [
        RandomControl(float(own), chance, (float(own) - chance, float(a), float(b)))
        for own, a, b in zip(harm[:number], low, high, strict=True)
    ]


def _harm(sums: Tensor) -> Tensor:
    """Loss of mIoU of all runs but the first, (..., runs, 3, K) to (..., runs - 1)."""
    miou = margin_figures(sums)['mIoU']
    return miou[..., :1] - miou[..., 1:]
