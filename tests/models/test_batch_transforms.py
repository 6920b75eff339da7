import pytest
import torch

from mmposenc.mm.models.batch_transforms import BatchRandomFlip, BatchRandomShift, BatchTwoViews, shift_images
from mmposenc.registry import TRANSFORMS

RAMP = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)  # 1 2 3 / 4 5 6 / 7 8 9


@pytest.mark.parametrize(
    'fill, expected',
    [
        ('zero', [[0, 0, 0], [0, 1, 2], [0, 4, 5]]),
        ('roll', [[9, 7, 8], [3, 1, 2], [6, 4, 5]]),
        ('reflect', [[5, 4, 5], [2, 1, 2], [5, 4, 5]]),
        ('replicate', [[1, 1, 2], [1, 1, 2], [4, 4, 5]]),
    ],
)
def test_shift_down_and_right_by_one_pixel(fill, expected):
    shifted = shift_images(RAMP, torch.tensor([[1, 1]]), fill)
    assert shifted.tolist() == [[expected]]


def test_each_image_takes_its_own_shift():
    images = torch.rand(50, 3, 8, 6)
    shifts = torch.randint(-5, 6, (50, 2))
    rolled = shift_images(images, shifts, 'roll')
    for image, shift, got in zip(images, shifts.tolist(), rolled, strict=True):
        assert torch.equal(got, image.roll(shift, (1, 2)))


def test_bound_of_the_shift_does_not_change_the_result():
    images, shifts = torch.rand(4, 3, 9, 9), torch.tensor([[0, 0], [1, -2], [2, 2], [-2, 0]])
    for fill in ('zero', 'roll', 'reflect', 'replicate'):
        assert torch.equal(shift_images(images, shifts, fill), shift_images(images, shifts, fill, max_shift=7))


def test_zero_shift_is_a_copy():
    shifted = shift_images(RAMP, torch.zeros(1, 2, dtype=torch.long))
    assert torch.equal(shifted, RAMP)
    assert shifted.data_ptr() != RAMP.data_ptr()


def test_shift_as_large_as_the_image():
    with pytest.raises(ValueError, match=r'smaller than the image \(3x3 px\), got 3'):
        shift_images(RAMP, torch.tensor([[3, 0]]))


def test_unknown_fill():
    with pytest.raises(ValueError, match="fill must be one of zero, roll, reflect, replicate, got 'wrap'"):
        BatchRandomShift(fill='wrap')


def test_random_shift_reaches_every_offset_and_no_other():
    torch.manual_seed(0)
    images = torch.zeros(2000, 1, 5, 5)
    images[:, :, 2, 2] = 1
    shifted = BatchRandomShift(max_shift=2)({'inputs': images})['inputs']
    assert shifted.sum((1, 2, 3)).eq(1).all()  # the dot never leaves, since it stands 2 px from every border
    counts = shifted.sum((0, 1))
    assert counts.min() > 40  # 25 cells of 80 expected
    assert counts.max() < 130


@pytest.mark.parametrize('max_shift', [0, -1])
def test_shift_range_below_one(max_shift):
    with pytest.raises(ValueError, match='at least 1 px'):
        BatchRandomShift(max_shift=max_shift)


def test_flip_mirrors_all_or_none():
    images = torch.rand(5, 3, 4, 4)
    assert torch.equal(BatchRandomFlip(1.0)({'inputs': images})['inputs'], images.flip(-1))
    assert torch.equal(BatchRandomFlip(0.0)({'inputs': images})['inputs'], images)


def test_flip_probability_outside_the_unit_interval():
    with pytest.raises(ValueError, match=r'prob must lie in \[0, 1\], got 1.5'):
        BatchRandomFlip(1.5)


def test_flip_is_shared_and_position_is_not():
    """Undoing the shift of both views must give the same, perhaps mirrored, image."""
    torch.manual_seed(0)
    images = torch.zeros(64, 1, 9, 9)
    images[:, :, 4, 3:6] = torch.tensor([1.0, 2.0, 3.0])  # a row that shows its handedness and its place
    shift = dict(type='mmposenc.BatchRandomShift', max_shift=2)
    two_views = TRANSFORMS.build(dict(type='mmposenc.BatchTwoViews', transforms=[shift]))
    first, second = two_views(BatchRandomFlip(0.5)({'inputs': images}))['inputs']
    centre = torch.stack([view.eq(2).nonzero()[:, 2:] for view in (first, second)])
    aligned = [shift_images(view, 4 - c, max_shift=2) for view, c in zip((first, second), centre, strict=True)]
    assert torch.equal(*aligned)
    mirrored = aligned[0][:, 0, 4, 3] == 3
    assert 16 < mirrored.sum() < 48
    assert (centre[0] != centre[1]).any(1).sum() > 48  # 24 of 25 pairs differ on average


def test_two_views_keep_the_other_keys():
    batch = BatchTwoViews([])({'inputs': RAMP, 'labels': torch.tensor([3])})
    assert batch['labels'].item() == 3
    assert len(batch['inputs']) == 2
