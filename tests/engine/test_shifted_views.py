"""The views of ShiftedViews against plain indexing."""

import pytest
import torch
from mmcv.transforms import CenterCrop

from mmposenc.mm.metrics.shift_consistency import draw_shifts
from mmposenc.shifts.shifted_views import ShiftedViews

IMAGES = torch.arange(1.0, 1 + 3 * 2 * 7 * 9).view(3, 2, 7, 9)


def test_keys_name_range_and_protocol():
    views = ShiftedViews([8, 16], ['zero_ref', 'crop_pair', 'roll_pair'], 3, crop_size=5)
    assert views.keys == ('cons8_zero_ref', 'cons16_zero_ref', 'cons_crop_pair', 'cons8_roll_pair', 'cons16_roll_pair')


def test_one_view_beside_the_reference_or_two():
    views = ShiftedViews([2], ['zero_ref', 'zero_pair'], 3)
    assert len(list(views.shifted('cons2_zero_ref', IMAGES, [0, 1, 2]))) == 1
    assert len(list(views.shifted('cons2_zero_pair', IMAGES, [0, 1, 2]))) == 2
    assert views.reference(IMAGES) is IMAGES


@pytest.mark.parametrize('fill', ['zero', 'roll', 'reflect'])
def test_each_sample_gets_its_own_shift(fill):
    """Pixel by pixel, in another order than the data set's."""
    shifts = draw_shifts(f'{fill}_ref', (range(-3, 4),) * 2, 50, seed=4)
    views = ShiftedViews([3], [f'{fill}_ref'], 50, seed=4)
    (moved,) = views.shifted(f'cons3_{fill}_ref', IMAGES, [41, 0, 17])

    def source(position, side):
        if fill == 'zero':
            return position if 0 <= position < side else None
        if fill == 'roll':
            return position % side
        return min(abs(position), 2 * (side - 1) - abs(position))

    for n, index in enumerate([41, 0, 17]):
        dy, dx = shifts[index, 0].tolist()
        for y in range(7):
            for x in range(9):
                row, column = source(y - dy, 7), source(x - dx, 9)
                pixel = torch.zeros(2) if row is None or column is None else IMAGES[n, :, row, column]
                assert torch.equal(moved[n, :, y, x], pixel)


def test_windows_are_cut_out_anywhere():
    """As offsets from 0 to the margin less one, BlurPool's."""
    views = ShiftedViews([1], ['crop_pair'], 40, seed=2, crop_size=4)
    offsets = draw_shifts('crop_pair', (range(3), range(5)), 40, seed=2)
    seen = set()
    for start in range(0, 39, 3):
        pair = views.shifted('cons_crop_pair', IMAGES, [start, start + 1, start + 2])
        for view, window in enumerate(pair):
            for n in range(3):
                top, left = offsets[start + n, view].tolist()
                assert torch.equal(window[n], IMAGES[n, :, top : top + 4, left : left + 4])
                seen.add((top, left))
    assert seen == {(top, left) for top in range(3) for left in range(5)}


@pytest.mark.parametrize('crop_size', [1, 2, 3, 4, 5])
def test_reference_is_the_hosts_center_crop(crop_size):
    views = ShiftedViews([1], ['zero_ref'], 3, crop_size=crop_size)
    image = IMAGES[0].permute(1, 2, 0).numpy()
    expected = CenterCrop(crop_size)({'img': image})['img']
    assert torch.equal(views.reference(IMAGES)[0], torch.from_numpy(expected).permute(2, 0, 1))


def test_shifts_act_on_the_center_crop():
    """What lies outside the crop does not come in: the fill does."""
    views = ShiftedViews([2], ['zero_ref'], 60, crop_size=4)
    for index in range(60):
        (moved,) = views.shifted('cons2_zero_ref', IMAGES[:1], [index])
        dy, dx = draw_shifts('zero_ref', (range(-2, 3),) * 2, 60)[index, 0].tolist()
        assert moved.shape == (1, 2, 4, 4)
        assert int((moved == 0).sum()) == 2 * (16 - (4 - abs(dy)) * (4 - abs(dx)))


@pytest.mark.parametrize('max_shifts', [[0], [], [8, 8], [2.5], [-1, 4]])
def test_max_shifts_must_be_different_positive_integers(max_shifts):
    with pytest.raises(ValueError, match=r'one or more different px, integers of at least 1; got \['):
        ShiftedViews(max_shifts, ['zero_ref'], 3)


def test_bare_max_shift_is_refused():
    with pytest.raises(TypeError, match=r'got 8; write max_shifts=\[8\]'):
        ShiftedViews(8, ['zero_ref'], 3)


def test_shift_must_be_smaller_than_the_image():
    views = ShiftedViews([7], ['zero_ref'], 3)
    with pytest.raises(ValueError, match=r'max_shift must be smaller than the image \(7x9 px\), got 7'):
        next(views.shifted('cons7_zero_ref', IMAGES, [0, 1, 2]))


def test_shift_must_be_smaller_than_the_crop():
    views = ShiftedViews([4], ['zero_ref'], 3, crop_size=4)
    with pytest.raises(ValueError, match=r'smaller than the image \(4x4 px\), got 4'):
        next(views.shifted('cons4_zero_ref', IMAGES, [0, 1, 2]))


@pytest.mark.parametrize('crop_size', [6, 7, 224])
def test_crop_must_leave_two_places(crop_size):
    views = ShiftedViews([1], ['crop_pair'], 3, crop_size=crop_size)
    with pytest.raises(ValueError, match=rf'at least 2 px smaller than the images \(7x9 px\), got {crop_size}'):
        views.reference(IMAGES)


def test_crop_pair_needs_a_crop_size():
    with pytest.raises(ValueError, match=r"'crop_pair' needs a crop_size .* got None"):
        ShiftedViews([1], ['crop_pair'], 3)


def test_crop_size_must_be_positive():
    with pytest.raises(ValueError, match='crop_size must be at least 1 px, got 0'):
        ShiftedViews([1], ['zero_ref'], 3, crop_size=0)
