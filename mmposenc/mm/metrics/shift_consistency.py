"""How consistency under shifts is measured: the named protocols, the shifts they draw, and the figures they give."""

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmposenc.registry import METRICS


class ShiftProtocol(NamedTuple):
    """What two views of an image are compared (Sec. 4.1, Cons.N of Table 2).

    Args:
        fill: What moves in where a shifted image uncovers its canvas; None where windows are cut from a larger image.
        views: How many of the two views are shifted. 1 compares the image itself with a shifted copy, 2 two copies.
    """

    fill: str | None
    views: int


PROTOCOLS = {
    'zero_ref': ShiftProtocol('zero', 1),
    'zero_pair': ShiftProtocol('zero', 2),
    'roll_ref': ShiftProtocol('roll', 1),
    'roll_pair': ShiftProtocol('roll', 2),
    'reflect_ref': ShiftProtocol('reflect', 1),
    'reflect_pair': ShiftProtocol('reflect', 2),
    'crop_pair': ShiftProtocol(None, 2),
}


def check_protocols(names: Sequence[str]) -> None:
    """Raise unless `names` is a list of known protocols, each named once (ours)."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f'protocols must be a list of names, got {names!r}; write protocols=[{names!r}]')
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(f'protocols must name one or more of {", ".join(PROTOCOLS)}, each once; got {list(names)}')


def draw_shifts(protocol: str, spans: tuple[range, range], num_samples: int, seed: int = 0) -> Tensor:
    """Draw the shifts of all samples: uniform integers, each axis on its own (Cons.N of Table 2).

    Row i belongs to sample i and depends on nothing but the seed, the protocol, the spans and i, so the figure cannot
    depend on batch size, order, number of processes, or on what else is measured in the same pass.

    Args:
        protocol: Name of the protocol; each has draws of its own.
        spans: The offsets that may be drawn, in px: vertical, horizontal. `range(-8, 9)` twice for Cons.8.
        num_samples: Length of the data set.
        seed: Any integer.

    Shape:
        Output (num_samples, views, 2), int64, the last axis (dy, dx).
    """
    views = PROTOCOLS[protocol].views
    axes = []
    for axis, span in zip('yx', spans, strict=True):
        key = f'{seed}/{protocol}/{span.start}/{span.stop}/{axis}'
        digest = hashlib.sha256(key.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], 'big'))
        axes.append(torch.randint(span.start, span.stop, (num_samples, views), generator=generator))
    return torch.stack(axes, dim=-1)


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, in percent (ours).

    It stays inside [0, 100] and keeps a width at 0 and 100%, where the normal approximation has none.

    Raises:
        ValueError: Unless 0 <= successes <= trials and trials >= 1.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f'successes must lie in [0, trials] and trials be at least 1, got {successes} of {trials}')
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def lower(count: int) -> float:
        """The smaller root of (count / trials - p)^2 = z^2 p (1 - p) / trials, by way of the product of both."""
        larger = count + z**2 / 2 + z * math.sqrt(count * (trials - count) / trials + z**2 / 4)
        return 100 * count**2 / trials / larger

    return lower(successes), 100 - lower(trials - successes)


@METRICS.register_module()
class ShiftConsistencyMetric(BaseMetric):
    """Top-1, and how often two shifted views of an image get the same label (Cons.N of Table 2).

    With label y, reference prediction r, and a, b the predictions of a protocol's first and second view (a is r in the
    `_ref` protocols), all in percent over the whole data set:

    - `accuracy/top1`: share of images with r = y.
    - `consistency/<key>`: share with a = b. The key is `cons8_zero_ref` for N = 8 px, `cons_crop_pair` for windows.
    - `consistency/<key>_low`, `_high`: its 95% interval (Wilson).
    - `consistency/<key>_correct`: share with b = y among the images with a = y; NaN if there are none.

    It takes what `mmposenc.ShiftConsistencyLoop` predicts. Each sample carries its index, by which those that a
    distributed sampler repeats count once and any that is missing is noticed.

    Example:
        >>> val_evaluator = dict(type='mmposenc.ShiftConsistencyMetric')
    """

    default_prefix = 'consistency'

    def __init__(self) -> None:
        super().__init__()

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Keep (index, label, reference prediction, predictions of the two views per key) of each sample.

        Args:
            data_batch: Not used.
            data_samples: Dicts or data elements with `sample_idx`, `gt_label`, `pred_label` and `shift_predictions`.

        Raises:
            ValueError: If the samples carry no predictions of shifted views.
        """
        for sample in data_samples:
            predictions = sample.get('shift_predictions')
            if predictions is None:
                raise ValueError(
                    'ShiftConsistencyMetric needs the predictions of shifted views, got samples with the keys '
                    f"{sorted(sample.keys())}; use val_cfg (test_cfg) = dict(type='mmposenc.ShiftConsistencyLoop')"
                )
            index, label, reference = (int(sample.get(key)) for key in ('sample_idx', 'gt_label', 'pred_label'))
            self.results.append((index, label, reference, predictions))

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute the figures over all processes, each sample once.

        Args:
            size: Length of the data set.

        Raises:
            ValueError: If the indices of the samples are not exactly 0 to size - 1.
        """
        samples = {result[0]: result for rank in all_gather_object(self.results) for result in rank}
        self.results.clear()
        if samples.keys() != set(range(size)):
            raise ValueError(
                f'every sample must be seen, with sample_idx from 0 to {size - 1}; got {len(samples)} different ones '
                f'for {size} samples. Keep the last batch; in joined data sets let the indices run through all of them'
            )
        return self.compute_metrics(list(samples.values()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Count, from one result per sample. See the class for the formulas."""
        total = len(results)
        figures = {'accuracy/top1': 100 * sum(y == reference for _, y, reference, _ in results) / total}
        for key in results[0][3]:
            views = [(y, *predictions[key]) for _, y, _, predictions in results]
            same = sum(a == b for _, a, b in views)
            correct = sum(a == y for y, a, _ in views)
            kept = sum(a == b == y for y, a, b in views)
            name = f'{self.prefix}/{key}'
            figures[name] = 100 * same / total
            figures[f'{name}_low'], figures[f'{name}_high'] = wilson_interval(same, total)
            figures[f'{name}_correct'] = 100 * kept / correct if correct else math.nan
        return figures
