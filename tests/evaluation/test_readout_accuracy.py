"""The share of right predictions, read-out by read-out."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmposenc.mm.metrics.readout_accuracy import ReadoutAccuracyMetric


def sample(label: int, first: int, last: int) -> dict:
    data = DataSample().set_gt_label(label)
    data.set_field({'stage1/gap': first, 'stage2/gap': last}, 'readouts')
    return data.to_dict()


def test_each_read_out_has_its_own_share():
    metric = ReadoutAccuracyMetric()
    metric.process(None, [sample(0, 0, 0), sample(1, 0, 1)])
    metric.process(None, [sample(2, 0, 2), sample(3, 0, 0)])
    assert metric.evaluate(4) == {'stage1/gap': 25.0, 'stage2/gap': 75.0}


def test_padded_samples_of_the_last_batch_do_not_count():
    metric = ReadoutAccuracyMetric()
    metric.process(None, [sample(0, 0, 1), sample(1, 1, 1)])
    assert metric.evaluate(1) == {'stage1/gap': 100.0, 'stage2/gap': 0.0}


def test_samples_of_an_ordinary_classifier_are_refused():
    plain = DataSample().set_gt_label(0).set_pred_label(torch.tensor(0)).to_dict()
    with pytest.raises(ValueError, match=r"needs samples with readouts, got the fields \['gt_label', 'pred_label'\]"):
        ReadoutAccuracyMetric().process(None, [plain])
