"""The metrics from given predictions."""

import math

import pytest
from mmengine.evaluator import Evaluator

from mmposenc.mm.metrics import ShiftConsistencyMetric


def sample(index, label, reference, **pairs):
    return {'sample_idx': index, 'gt_label': label, 'pred_label': reference, 'shift_predictions': pairs}


def evaluate(samples, size, metric=None):
    metric = metric or ShiftConsistencyMetric()
    metric.process(None, samples)
    return metric.evaluate(size)


SAMPLES = (
    sample(0, 0, 0, cons8_zero_pair=(0, 0)),
    sample(1, 1, 1, cons8_zero_pair=(1, 2)),
    sample(2, 1, 0, cons8_zero_pair=(1, 1)),
    sample(3, 2, 2, cons8_zero_pair=(0, 0)),
    sample(4, 2, 2, cons8_zero_pair=(2, 1)),
)


def test_counted_by_hand():
    metrics = evaluate(SAMPLES, 5)
    assert metrics == {
        'accuracy/top1': 80.0,  # all but sample 2
        'consistency/cons8_zero_pair': 60.0,  # samples 0, 2, 3
        'consistency/cons8_zero_pair_low': pytest.approx(23.072, abs=1e-3),
        'consistency/cons8_zero_pair_high': pytest.approx(88.238, abs=1e-3),
        'consistency/cons8_zero_pair_correct': 50.0,  # first view right in 0, 1, 2, 4; second too in 0, 2
    }


def test_order_and_repeated_samples_change_nothing_and_the_next_pass_starts_anew():
    metric = ShiftConsistencyMetric()
    assert evaluate([*SAMPLES[::-1], *SAMPLES[:3]], 5, metric) == evaluate(SAMPLES, 5)
    both = evaluate([sample(0, 1, 0, cons8_zero_ref=(0, 0), cons16_zero_ref=(0, 1))], 1, metric)
    assert [both[f'consistency/cons{n}_zero_ref'] for n in (8, 16)] == [100, 0]
    assert both['accuracy/top1'] == 0
    assert math.isnan(both['consistency/cons8_zero_ref_correct'])


@pytest.mark.parametrize('samples, size', [
    (SAMPLES[:4], 5), (SAMPLES[1:], 4), ((*SAMPLES[:4], SAMPLES[3]), 5), ((), 1),
], ids=['last missing', 'index beyond the end', 'one twice, one missing', 'no sample'])  # fmt: skip
def test_every_sample_must_be_there(samples, size):
    with pytest.raises(ValueError, match=f'sample_idx from 0 to {size - 1}; got .* for {size} samples'):
        evaluate(samples, size)


def test_registered_and_refused_without_its_loop():
    (metric,) = Evaluator({'type': 'mmposenc.ShiftConsistencyMetric'}).metrics
    with pytest.raises(ValueError, match=r'use val_cfg .*mmposenc\.ShiftConsistencyLoop'):
        metric.process(None, [{'sample_idx': 0, 'gt_label': 1, 'pred_label': 1}])
