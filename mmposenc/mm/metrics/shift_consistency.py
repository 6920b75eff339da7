"""The metric of `ShiftConsistencyLoop`; what it computes is `mmposenc.shifts`'."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric

from mmposenc.registry import METRICS
from mmposenc.shifts.consistency import ConsistencyCard, count_views


@METRICS.register_module()
class ShiftConsistencyMetric(BaseMetric):
    """Top-1, and how often two shifted views of an image get the same label (Cons.N of Table 2).

    All in percent over the whole data set; formulas in `mmposenc.shifts.ConsistencyCard`:

    - `accuracy/top1`
    - `consistency/<key>`: the key is `cons8_zero_ref` for N = 8 px, `cons_crop_pair` for windows.
    - `consistency/<key>_low`, `_high`: its 95% interval (Wilson's).
    - `consistency/<key>_correct`: the same among images whose first view is classified correctly; NaN if none is.

    It takes what `mmposenc.ShiftConsistencyLoop` predicts; a sample that a distributed sampler repeats counts once.
    `totals` are the counts of the last evaluation, as `mmposenc.shifts.consistency.make_card` takes them.
    """

    default_prefix = 'consistency'

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Keep index, label and predictions of each sample (dict or data element), which must be of shifted views."""
        for sample in data_samples:
            predictions = sample.get('shift_predictions')
            if predictions is None:
                advice = "use val_cfg (test_cfg) = dict(type='mmposenc.ShiftConsistencyLoop')"
                raise ValueError(f'ShiftConsistencyMetric needs the predictions of shifted views; {advice}')
            index, label, reference = (int(sample.get(key)) for key in ('sample_idx', 'gt_label', 'pred_label'))
            self.results.append((index, label, reference, predictions))

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute the metrics of a data set of `size` images over all processes, each sample once."""
        samples = {result[0]: result for rank in all_gather_object(self.results) for result in rank}
        self.results.clear()
        if samples.keys() != set(range(size)):
            advice = 'Keep the last batch; in joined data sets let the indices run through all of them'
            got = f'{len(samples)} different ones for {size} samples. {advice}'
            raise ValueError(f'every sample must be seen, with sample_idx from 0 to {size - 1}; got {got}')
        return self.compute_metrics(list(samples.values()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Count, from one result per sample."""
        _, labels, references, views = zip(*results, strict=True)
        pairs = torch.tensor([list(pairs.values()) for pairs in views]).flatten(1)
        self.totals = count_views(torch.cat([torch.tensor(references)[:, None], pairs], dim=1), torch.tensor(labels))
        keys, (images, correct) = tuple(views[0]), self.totals[:2].tolist()
        card = ConsistencyCard(images, correct, keys, (None,) * len(keys), self.totals[2:].view(-1, 3))
        metrics = {'accuracy/top1': card.top1}
        for row in card.table():
            for end in ('', '_low', '_high', '_correct'):
                metrics[f'{self.prefix}/{row["protocol"]}{end}'] = row[f'consistency{end}']
        return metrics
