import pytest
import torch
from torch import Tensor

from mmposenc.random_control import random_control


def margins(hits: list[list[int]]) -> Tensor:
    """Images (rows) and runs of 100 labelled and 100 predicted pixels of one class: IoU is hits / (200 - hits)."""
    return torch.tensor([[[[100], [100], [number]] for number in image] for image in hits])


def iou(hits: float) -> float:
    return 100 * hits / (200 - hits)


def test_harm_and_excess_by_hand() -> None:
    whole = margins([[100], [100]])[:, 0]
    # Two equal images and two equal draws have no spread; the second ranking is as good as its images let it be.
    strong, varied = random_control(whole, margins([[40, 90], [40, 100]]), margins([[80, 80], [80, 80]]))
    assert strong.harm == pytest.approx(100 - iou(40))
    assert strong.random == varied.random == pytest.approx(100 - iou(80))
    assert strong.excess == pytest.approx([iou(80) - iou(40)] * 3)
    assert varied.excess[0] == pytest.approx(iou(80) - iou(95))
    # The extremes: twice the second image, twice the first.
    assert varied.excess[1:] == pytest.approx([iou(80) - iou(100), iou(80) - iou(90)])


def test_the_interval_also_covers_the_choice_of_draws() -> None:
    whole, ranked = margins([[100]] * 8)[:, 0], margins([[70]] * 8)
    (result,) = random_control(whole, ranked, margins([[60, 80]] * 8))
    # Both draws twice 60, twice 80, or one of each.
    assert result.random == pytest.approx(100 - (iou(60) + iou(80)) / 2)
    assert result.excess[1:] == pytest.approx([iou(60) - iou(70), iou(80) - iou(70)])
    (alone,) = random_control(whole, ranked, margins([[60]] * 8))
    assert alone.excess == pytest.approx([iou(60) - iou(70)] * 3)


def test_the_interval_has_the_spread_of_a_mean() -> None:
    """With pixels as many in each image and no false ones, IoU is a mean over images, whose spread is known."""
    kept = torch.randint(0, 101, (400,), generator=torch.Generator().manual_seed(0))
    labelled = torch.full_like(kept, 100)

    def of(hits: Tensor) -> Tensor:
        return torch.stack([labelled, hits, hits], dim=1)[:, :, None]

    (result,) = random_control(of(labelled), of(kept)[:, None], of(labelled)[:, None], num_resamples=2000)
    error = float(kept.double().std()) / 20
    low, high = result.excess[1:]
    assert result.excess[0] == pytest.approx(100 - float(kept.double().mean()))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_rankings_do_not_change_each_other() -> None:
    hits = torch.randint(20, 100, (9, 5), generator=torch.Generator().manual_seed(0))
    whole, ranked, drawn = margins([[100]] * 9)[:, 0], margins(hits[:, :2].tolist()), margins(hits[:, 2:].tolist())
    first, second = random_control(whole, ranked, drawn)
    assert random_control(whole, ranked[:, 1:], drawn) == [second]
    assert first != second
    assert random_control(whole, ranked, drawn, seed=1) != [first, second]


def test_mistakes() -> None:
    whole, runs = margins([[100]] * 2)[:, 0], margins([[50, 50]] * 2)
    for parts in ((whole, runs[:1], runs), (whole, runs, runs[..., :2, :]), (runs, runs, runs), (whole, whole, runs)):
        with pytest.raises(ValueError, match=r'margins must be \(images, 3, K\) and twice \(images, runs, 3, K\)'):
            random_control(*parts)
    for parts in ((whole, runs[:, :0], runs), (whole, runs, runs[:, :0])):
        with pytest.raises(ValueError, match='margins must be'):
            random_control(*parts)
    with pytest.raises(ValueError, match='num_resamples and images must be at least 1, got 0 and 2'):
        random_control(whole, runs, runs, num_resamples=0)
    with pytest.raises(ValueError, match='got 1000 and 0'):
        random_control(whole[:0], runs[:0], runs[:0])
