import pytest
import torch

from mmposenc.image_bootstrap import interval, resampled_sums


def test_each_sum_is_of_as_many_images_as_there_are() -> None:
    images = torch.eye(7, dtype=torch.float64).view(7, 7, 1)
    times = torch.cat(list(resampled_sums(images, 250, seed=0)))
    assert times.shape == (250, 7, 1)
    assert times.sum(1).eq(7).all()
    assert times.eq(times.round()).all(), 'an image is drawn a whole number of times'
    # Of 250 x 7 draws each image has 250 expected, with a standard deviation of 15.
    assert ((times.sum(0) - 250).abs() < 5 * 15).all()
    assert len(times.unique(dim=0)) > 200


def test_the_seed_decides() -> None:
    images = torch.rand(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, again, other = (torch.cat(list(resampled_sums(images, 120, seed))) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_interval_leaves_out_a_fortieth_at_both_ends() -> None:
    low, high = interval(torch.stack([torch.arange(1001.0), torch.zeros(1001)], dim=1).double())
    assert low.tolist() == pytest.approx([25, 0])
    assert high.tolist() == pytest.approx([975, 0])


@pytest.mark.parametrize('images, number', [(0, 1), (1, 0)])
def test_nothing_to_draw(images: int, number: int) -> None:
    with pytest.raises(ValueError, match=f'num_resamples and images must be at least 1, got {number} and {images}'):
        next(iter(resampled_sums(torch.zeros(images, 1).double(), number, 0)))
