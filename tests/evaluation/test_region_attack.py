import pytest
import torch
from torch import Tensor

from mmposenc.region_attack import region_attack


def margins(hits: list[int]) -> Tensor:
    """Images of 100 labelled and 100 predicted pixels of one class: IoU is hits / (200 - hits)."""
    return torch.tensor([[[100], [100], [number]] for number in hits])


def test_harm_and_gaps_by_hand() -> None:
    result = region_attack(margins([100, 100]), margins([60, 60]), margins([80, 80]), margins([100, 90]))
    iou = [100 * hits / (400 - hits) for hits in (200, 120, 160, 190)]
    assert result.harm == pytest.approx([iou[0] - iou[1], iou[0] - iou[2], iou[0] - iou[3]])
    # Own and overall are the same in both images, so that their gap has no spread.
    assert result.first_gap == pytest.approx([iou[2] - iou[1]] * 3)
    assert result.second_gap[0] == pytest.approx(iou[3] - iou[2])
    # The resampled extremes: twice the second image, twice the first.
    low, high = (100 * hits / (200 - hits) - 100 * 80 / 120 for hits in (90, 100))
    assert result.second_gap[1:] == pytest.approx([low, high])
    assert result.holds
    assert result.certain
    assert result.share == 100


def test_an_order_that_one_image_turns_round_is_not_certain() -> None:
    images = 10
    own, overall = margins([40] * 9 + [99]), margins([50] * 9 + [10])
    result = region_attack(margins([100] * images), own, overall, margins([100] * images), seed=3)
    assert result.first_gap[1] < 0 < result.first_gap[2]
    assert not result.certain
    assert 0 < result.share < 100
    assert result.holds == (result.first_gap[0] > 0)
    assert region_attack(margins([100] * images), overall, own, margins([100] * images)).first_gap[0] == pytest.approx(
        -result.first_gap[0]
    )


def test_the_interval_has_the_spread_of_a_mean() -> None:
    """With pixels as many in each image and no false ones, IoU is a mean over images, whose spread is known."""
    generator = torch.Generator().manual_seed(0)
    kept = torch.randint(0, 101, (400,), generator=generator)
    labelled = torch.full_like(kept, 100)
    none = torch.zeros_like(kept)

    def of(hits: Tensor) -> Tensor:
        return torch.stack([labelled, hits, hits], dim=1)[:, :, None]

    result = region_attack(of(labelled), of(none), of(kept), of(labelled), num_resamples=2000)
    error = float(kept.double().std()) / 20
    low, high = result.first_gap[1:]
    assert result.first_gap[0] == pytest.approx(float(kept.double().mean()))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_the_same_seed_gives_the_same_interval() -> None:
    generator = torch.Generator().manual_seed(0)
    data = [margins(torch.randint(20, 100, (9,), generator=generator).tolist()) for _ in range(4)]
    assert region_attack(*data, seed=1) == region_attack(*data, seed=1)
    assert region_attack(*data, seed=1).first_gap[1:] != region_attack(*data, seed=2).first_gap[1:]


def test_mistakes() -> None:
    good = margins([50, 50])
    with pytest.raises(ValueError, match=r'margins must be \(images, 3, K\) of one shape'):
        region_attack(good, good, good, good[:1])
    with pytest.raises(ValueError, match=r'margins must be \(images, 3, K\) of one shape'):
        region_attack(*[good[:, :2]] * 4)
    with pytest.raises(ValueError, match='num_resamples and images must be at least 1, got 0 and 2'):
        region_attack(good, good, good, good, num_resamples=0)
    with pytest.raises(ValueError, match='got 1000 and 0'):
        region_attack(*[good[:0]] * 4)
