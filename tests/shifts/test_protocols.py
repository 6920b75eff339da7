"""The draws of the protocols, and the views of ShiftedViews against numpy."""

import math

import numpy as np
import pytest
import torch

from mmposenc.shifts import ShiftedViews, draw_shifts

CONS8, CONS9 = (range(-8, 9),) * 2, (range(-9, 10),) * 2
IMAGES = torch.arange(1.0, 1 + 3 * 2 * 7 * 9).view(3, 2, 7, 9)


class TestDrawShifts:
    def test_draws_stay_what_they_are_for_any_number_of_samples(self):
        assert draw_shifts('zero_ref', CONS8, 4).tolist() == [[[-2, 5]], [[7, 2]], [[0, 8]], [[7, -2]]]
        assert torch.equal(draw_shifts('zero_pair', CONS8, 5000)[:37], draw_shifts('zero_pair', CONS8, 37))
        windows = draw_shifts('crop_pair', (range(32),) * 2, 2, seed=1)
        assert windows.tolist() == [[[3, 20], [14, 7]], [[13, 18], [24, 15]]]

    def test_seed_protocol_range_axis_and_view_have_draws_of_their_own(self):
        protocols = ('zero_pair', CONS8, 0), ('zero_pair', CONS8, 1), ('roll_pair', CONS8, 0), ('zero_pair', CONS9, 0)
        tables = [draw_shifts(name, spans, 4000, seed) for name, spans, seed in protocols]
        columns = torch.cat([table.reshape(4000, 4) for table in tables], dim=1).T.double()
        correlations = torch.corrcoef(columns) - torch.eye(16)
        assert correlations.abs().max() < 5 / math.sqrt(4000)

    def test_uniform_over_both_ends(self):
        shifts = draw_shifts('zero_ref', (range(-2, 3), range(4)), 20000)[:, 0]
        cells = torch.bincount((shifts[:, 0] + 2) * 4 + shifts[:, 1], minlength=20)
        assert cells.shape == (20,)
        assert (cells - 1000).abs().max() < 5 * math.sqrt(950)  # binomial, 5 standard deviations


class TestShiftedViews:
    def test_keys_name_range_and_protocol(self):
        views = ShiftedViews([8, 16], ['zero_ref', 'crop_pair', 'roll_pair'], crop_size=5)
        assert ' '.join(views.keys) == 'cons8_zero_ref cons16_zero_ref cons_crop_pair cons8_roll_pair cons16_roll_pair'

    @pytest.mark.parametrize('number', [50, None], ids=['length given', 'unknown'])
    @pytest.mark.parametrize('fill, mode', [('zero', 'constant'), ('roll', 'wrap'), ('reflect', 'reflect')])
    def test_each_sample_gets_its_own_shift(self, fill, mode, number):
        """As numpy pads, in another order than the data set's."""
        shifts = draw_shifts(f'{fill}_ref', (range(-3, 4),) * 2, 50, seed=4)
        views = ShiftedViews([3], [f'{fill}_ref'], number, seed=4)
        list(views.shifted(f'cons3_{fill}_ref', IMAGES[:1], [0]))
        (moved,) = views.shifted(f'cons3_{fill}_ref', IMAGES, [41, 0, 17])
        for image, got, (dy, dx) in zip(IMAGES, moved, shifts[[41, 0, 17], 0].tolist(), strict=True):
            padded = np.pad(image, [(0, 0), (3, 3), (3, 3)], mode)
            assert np.array_equal(got, padded[:, 3 - dy : 10 - dy, 3 - dx : 12 - dx])

    def test_windows_are_cut_out_anywhere(self):
        """As offsets from 0 to the margin less one, BlurPool's; also further than the image is high."""
        images = torch.rand(40, 3, 7, 30)
        views = ShiftedViews([1], ['crop_pair'], 40, seed=2, crop_size=4)
        offsets = draw_shifts('crop_pair', (range(3), range(26)), 40, seed=2)
        for view, windows in enumerate(views.shifted('cons_crop_pair', images, range(40))):
            for image, window, (top, left) in zip(images, windows, offsets[:, view].tolist(), strict=True):
                assert torch.equal(window, image[:, top : top + 4, left : left + 4])
        assert offsets[..., 0].unique().tolist() == [0, 1, 2]
        assert offsets[..., 1].max() > 20

    @pytest.mark.parametrize('crop_size', [1, 2, 3, 4, 5])
    def test_reference_is_mmcvs_center_crop(self, crop_size):
        transforms = pytest.importorskip('mmcv.transforms', reason='compares with mmcv')
        views = ShiftedViews([1], ['zero_ref'], crop_size=crop_size)
        image = IMAGES[0].permute(1, 2, 0).numpy()
        expected = transforms.CenterCrop(crop_size)({'img': image})['img']
        assert torch.equal(views.reference(IMAGES)[0], torch.from_numpy(expected).permute(2, 0, 1))

    def test_shifts_act_on_the_center_crop(self):
        """What lies outside the crop does not come in: the fill does."""
        views = ShiftedViews([2], ['zero_ref'], 60, crop_size=4)
        for index in range(60):
            (moved,) = views.shifted('cons2_zero_ref', IMAGES[:1], [index])
            dy, dx = draw_shifts('zero_ref', (range(-2, 3),) * 2, 60)[index, 0].tolist()
            assert moved.shape == (1, 2, 4, 4)
            assert int((moved == 0).sum()) == 2 * (16 - (4 - abs(dy)) * (4 - abs(dx)))


@pytest.mark.parametrize('max_shifts, protocols, crop_size, message', [
    ([0], ['zero_ref'], None, r'max_shifts must be a list of one or more integers of at least 1 px; got \[0\]'),
    ([2.5], ['zero_ref'], None, 'one or more integers'),
    (8, ['zero_ref'], None, 'must be a list of one or more integers of at least 1 px; got 8'),
    ([8], ['zero'], None, r'zero_ref, zero_pair, .*crop_pair; got \[.zero.\]'),
    ([8], {'zero_ref'}, None, 'must be a list'),
    ([8], 'zero_ref', None, r"must be a list of one or more of zero_ref, .*; got 'zero_ref'"),
    ([1], ['crop_pair'], None, r"'crop_pair' needs a crop_size .* got None"),
    ([1], ['zero_ref'], 0, 'crop_size must be at least 1 px, got 0'),
    ([1], ['crop_pair'], 6, r'at least 2 px smaller than the images \(7x9 px\), got 6'),
    ([4], ['zero_ref'], 4, r'smaller than the image \(4x4 px\), got 4'),
])  # fmt: skip
def test_bad_input(max_shifts, protocols, crop_size, message):
    with pytest.raises((TypeError, ValueError), match=message):  # noqa: PT012
        views = ShiftedViews(max_shifts, protocols, crop_size=crop_size)
        list(views.shifted(views.keys[0], IMAGES, [0, 1, 2]))
