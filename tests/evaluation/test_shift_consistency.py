"""The draws of the shift protocols, Wilson's interval, and the figures from given predictions."""

import math

import pytest
import torch
from mmengine.evaluator import Evaluator

from mmposenc.mm.metrics.shift_consistency import (
    PROTOCOLS,
    ShiftConsistencyMetric,
    check_protocols,
    draw_shifts,
    wilson_interval,
)
from mmposenc.registry import METRICS

CONS8 = (range(-8, 9),) * 2


def sample(index, label, reference, **pairs):
    return {'sample_idx': index, 'gt_label': label, 'pred_label': reference, 'shift_predictions': pairs}


def evaluate(samples, size, metric=None):
    metric = metric or ShiftConsistencyMetric()
    metric.process(None, samples)
    return metric.evaluate(size)


class TestProtocols:
    def test_names_and_what_they_fill_with(self):
        fills = {name: (protocol.fill, protocol.views) for name, protocol in PROTOCOLS.items()}
        assert fills == {
            'zero_ref': ('zero', 1),
            'zero_pair': ('zero', 2),
            'roll_ref': ('roll', 1),
            'roll_pair': ('roll', 2),
            'reflect_ref': ('reflect', 1),
            'reflect_pair': ('reflect', 2),
            'crop_pair': (None, 2),
        }

    def test_unknown_name_lists_all(self):
        with pytest.raises(ValueError, match=r'zero_ref, zero_pair, .*crop_pair.*got \[.zero.\]'):
            check_protocols(['zero'])

    @pytest.mark.parametrize('names', [[], ['zero_ref', 'zero_ref']])
    def test_none_or_twice_is_refused(self, names):
        with pytest.raises(ValueError, match='each once'):
            check_protocols(names)

    def test_bare_name_is_refused(self):
        with pytest.raises(TypeError, match=r"write protocols=\['zero_ref'\]"):
            check_protocols('zero_ref')


class TestDrawShifts:
    def test_draws_stay_what_they_are(self):
        assert draw_shifts('zero_ref', CONS8, 4).tolist() == [[[-2, 5]], [[7, 2]], [[0, 8]], [[7, -2]]]
        windows = draw_shifts('crop_pair', (range(32),) * 2, 2, seed=1)
        assert windows.tolist() == [[[3, 20], [14, 7]], [[13, 18], [24, 15]]]

    def test_row_depends_on_its_index_only(self):
        assert torch.equal(draw_shifts('zero_pair', CONS8, 5000)[:37], draw_shifts('zero_pair', CONS8, 37))

    def test_seed_protocol_range_axis_and_view_have_draws_of_their_own(self):
        tables = [
            draw_shifts('zero_pair', CONS8, 4000),
            draw_shifts('zero_pair', CONS8, 4000, seed=1),
            draw_shifts('roll_pair', CONS8, 4000),
            draw_shifts('zero_pair', (range(-9, 10),) * 2, 4000),
        ]
        columns = torch.cat([table.reshape(4000, 4) for table in tables], dim=1).T.double()
        correlations = torch.corrcoef(columns) - torch.eye(16)
        assert correlations.abs().max() < 5 / math.sqrt(4000)

    def test_uniform_over_both_ends(self):
        shifts = draw_shifts('zero_ref', (range(-2, 3), range(4)), 20000)[:, 0]
        cells = torch.bincount((shifts[:, 0] + 2) * 4 + shifts[:, 1], minlength=20)
        assert cells.shape == (20,)
        assert (cells - 1000).abs().max() < 5 * math.sqrt(950)  # binomial, 5 standard deviations


class TestWilsonInterval:
    @pytest.mark.parametrize(
        'successes, trials, low, high',
        [(8, 10, 49.016, 94.332), (3, 5, 23.072, 88.238), (0, 10, 0, 27.754), (10, 10, 72.246, 100)],
    )
    def test_known_values(self, successes, trials, low, high):
        assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-3)

    def test_ends_lie_z_standard_errors_from_the_share(self):
        for end in wilson_interval(8660, 10000):
            p = end / 100
            assert abs(p - 0.866) / math.sqrt(p * (1 - p) / 10000) == pytest.approx(1.959963984540054)

    @pytest.mark.parametrize('successes, trials', [(0, 0), (3, 2), (-1, 2)])
    def test_impossible_counts(self, successes, trials):
        with pytest.raises(ValueError, match=f'got {successes} of {trials}'):
            wilson_interval(successes, trials)


class TestShiftConsistencyMetric:
    SAMPLES = (
        sample(0, 0, 0, cons8_zero_pair=(0, 0)),
        sample(1, 1, 1, cons8_zero_pair=(1, 2)),
        sample(2, 1, 0, cons8_zero_pair=(1, 1)),
        sample(3, 2, 2, cons8_zero_pair=(0, 0)),
        sample(4, 2, 2, cons8_zero_pair=(2, 1)),
    )

    def test_counted_by_hand(self):
        figures = evaluate(self.SAMPLES, 5)
        assert figures == {
            'accuracy/top1': 80.0,  # all but sample 2
            'consistency/cons8_zero_pair': 60.0,  # samples 0, 2, 3
            'consistency/cons8_zero_pair_low': pytest.approx(23.072, abs=1e-3),
            'consistency/cons8_zero_pair_high': pytest.approx(88.238, abs=1e-3),
            'consistency/cons8_zero_pair_correct': 50.0,  # first view right in 0, 1, 2, 4; second too in 0, 2
        }
        assert all(type(figure) is float for figure in figures.values())

    def test_order_and_repeated_samples_change_nothing(self):
        assert evaluate([*self.SAMPLES[::-1], *self.SAMPLES[:3]], 5) == evaluate(self.SAMPLES, 5)

    def test_each_figure_is_counted_by_itself(self):
        figures = evaluate([sample(0, 1, 1, cons8_zero_ref=(1, 1), cons16_zero_ref=(1, 0))], 1)
        assert figures['consistency/cons8_zero_ref'] == 100.0
        assert figures['consistency/cons16_zero_ref'] == 0.0

    def test_nothing_correct_is_not_a_number(self):
        figures = evaluate([sample(0, 1, 0, cons8_zero_ref=(0, 0))], 1)
        assert math.isnan(figures['consistency/cons8_zero_ref_correct'])
        assert figures['consistency/cons8_zero_ref'] == 100.0

    def test_starts_anew_after_evaluate(self):
        metric = ShiftConsistencyMetric()
        evaluate(self.SAMPLES, 5, metric)
        assert evaluate([sample(0, 1, 0, cons8_zero_ref=(0, 1))], 1, metric)['accuracy/top1'] == 0.0

    @pytest.mark.parametrize(
        'samples, size',
        [(SAMPLES[:4], 5), (SAMPLES[1:], 4), ((*SAMPLES[:4], SAMPLES[3]), 5), ((), 1)],
        ids=['last missing', 'index beyond the end', 'one twice, one missing', 'no sample'],
    )
    def test_every_sample_must_be_there(self, samples, size):
        with pytest.raises(ValueError, match=f'sample_idx from 0 to {size - 1}; got .* for {size} samples'):
            evaluate(samples, size)

    def test_without_its_loop(self):
        with pytest.raises(ValueError, match=r'use val_cfg .*mmposenc\.ShiftConsistencyLoop'):
            ShiftConsistencyMetric().process(None, [{'sample_idx': 0, 'gt_label': 1, 'pred_label': 1}])

    def test_registered(self):
        assert METRICS.get('ShiftConsistencyMetric') is ShiftConsistencyMetric
        evaluator = Evaluator({'type': 'mmposenc.ShiftConsistencyMetric'})
        assert isinstance(evaluator.metrics[0], ShiftConsistencyMetric)
