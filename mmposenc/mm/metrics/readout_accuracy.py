"""The accuracy of several read-outs of one network."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from mmposenc.registry import METRICS


@METRICS.register_module()
class ReadoutAccuracyMetric(BaseMetric):
    """The share of right predictions of each read-out, in % (ours; for `LocationProbe`, Sec. 3).

    A sample holds its true class in `gt_label` and, in `readouts`, the class that each read-out predicts. The figures
    are named after the read-outs: `stage1/gap`, `stage1/permute`, `stage1/sort` and so on.

    Args:
        collect_device: As in `BaseMetric`.
        prefix: As in `BaseMetric`. Default none.

    Raises:
        ValueError: If the samples hold no read-outs.
    """

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note which read-outs are right, one result per sample."""
        for sample in data_samples:
            if 'readouts' not in sample:
                raise ValueError(
                    f'ReadoutAccuracyMetric needs samples with readouts, got the fields {sorted(sample)}; '
                    'use it with mmposenc.LocationProbe'
                )
            label = int(sample['gt_label'])
            self.results.append({name: predicted == label for name, predicted in sample['readouts'].items()})

    def compute_metrics(self, results: list[dict[str, bool]]) -> dict[str, float]:
        """Average over the samples."""
        return {name: 100 * sum(result[name] for result in results) / len(results) for name in results[0]}
