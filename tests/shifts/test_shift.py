"""shift_images against plain indexing."""

import pytest
import torch

from mmposenc.shifts import random_shift, shift_images

RAMP = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)  # 1 2 3 / 4 5 6 / 7 8 9


@pytest.mark.parametrize('fill, expected', [
    ('zero', [[0, 0, 0], [0, 1, 2], [0, 4, 5]]),
    ('roll', [[9, 7, 8], [3, 1, 2], [6, 4, 5]]),
    ('reflect', [[5, 4, 5], [2, 1, 2], [5, 4, 5]]),
    ('replicate', [[1, 1, 2], [1, 1, 2], [4, 4, 5]]),
])  # fmt: skip
def test_shift_down_and_right_by_one_pixel(fill, expected):
    assert shift_images(RAMP, torch.tensor([[1, 1]]), fill).tolist() == [[expected]]


def test_each_image_takes_its_own_shift_in_channels_last():
    images = torch.rand(50, 3, 8, 6).contiguous(memory_format=torch.channels_last)
    shifts = torch.randint(-5, 6, (50, 2))
    rolled = shift_images(images, shifts, 'roll')
    for image, shift, got in zip(images, shifts.tolist(), rolled, strict=True):
        assert torch.equal(got, image.roll(shift, (1, 2)))


@pytest.mark.parametrize('fill', ['zero', 'roll', 'reflect', 'replicate'])
def test_bound_of_the_shift_does_not_change_the_result(fill):
    images, shifts = torch.rand(4, 3, 9, 9), torch.tensor([[0, 0], [1, -2], [2, 2], [-2, 0]])
    assert torch.equal(shift_images(images, shifts, fill), shift_images(images, shifts, fill, max_shift=7))
    unmoved = shift_images(images, 0 * shifts, fill)
    assert torch.equal(unmoved, images)
    assert unmoved.data_ptr() != images.data_ptr()


def test_random_shift_reaches_every_offset_and_no_other():
    torch.manual_seed(0)
    images = torch.zeros(2000, 1, 5, 5)
    images[:, :, 2, 2] = 1
    shifted = random_shift(images, 2)
    assert shifted.sum((1, 2, 3)).eq(1).all()  # the dot never leaves, since it stands 2 px from every border
    counts = shifted.sum((0, 1))
    assert counts.min() > 40  # 25 cells of 80 expected
    assert counts.max() < 130


@pytest.mark.parametrize('shift, options, message', [
    (3, {}, r'smaller than the image \(3x3 px\), got 3'),
    (2, {'max_shift': 1}, 'at most max_shift = 1 px, got 2'),
    (-2, {'max_shift': 1}, 'at most max_shift = 1 px, got 2'),
    (1, {'fill': 'wrap'}, "fill must be one of zero, roll, reflect, replicate, got 'wrap'"),
])  # fmt: skip
def test_bad_input(shift, options, message):
    with pytest.raises(ValueError, match=message):
        shift_images(RAMP, torch.tensor([[shift, 0]]), **options)
