"""What a sweep measures of each image."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor

from mmposenc.ranking import short


class Metric(Protocol):
    """What a sweep measures.

    Sums are kept for every image, so that a figure of any set of images follows from them.

    Attributes:
        name: The name that `make_metric` knows it by; '' for a metric of your own.
        regions: Names of the regions that figures are given for; ('overall',) if there are none.
        harm_of: Name of the figure whose loss is called harm. Its set of classes must not depend on the predictions.
    """

    @property
    def name(self) -> str: ...

    @property
    def regions(self) -> Sequence[str]: ...

    @property
    def harm_of(self) -> str: ...

    def count(self, outputs: Any, targets: Any) -> Tensor:
        """Additive sums of each image, (N, ...), integers where possible."""

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        """Figures of added sums, in %.

        Args:
            sums: (..., *shape of one image's sums), float64.

        Returns:
            Tensors of shape (...), by 'figure' or 'region/figure'.
        """

    def document(self) -> dict[str, Any]:
        """The arguments that `make_metric` needs to make it again, as JSON takes them."""


class Rates:
    """Figures that are the share of images which something holds for, in %.

    Args:
        figures: Their names, such as ['top1', 'cons8_zero_ref'].

    Shape:
        Sums (..., figures + 1): hits, and the number of images.
    """

    name = 'rates'
    regions = ('overall',)

    def __init__(self, figures: Sequence[str]) -> None:
        self.figures = list(figures)
        self.harm_of = self.figures[0]

    def count(self, outputs: Tensor, targets: Any) -> Tensor:
        """Sums of hits (N, figures); `targets` is not used."""
        return torch.cat([outputs, torch.ones_like(outputs[..., :1])], dim=-1).to(torch.uint8)

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        return {name: 100 * sums[..., i] / sums[..., -1] for i, name in enumerate(self.figures)}

    def document(self) -> dict[str, Any]:
        return dict(figures=self.figures)


class Top1(Rates):
    """Top-1 accuracy of a classifier.

    Shape:
        Outputs (N, classes), targets (N,) of integers; sums (N, 2).

    Raises:
        ValueError: If the targets are not one label for each image, or a score is NaN.
    """

    name = 'top1'

    def __init__(self) -> None:
        super().__init__(['top1'])

    def count(self, outputs: Tensor, targets: Any) -> Tensor:
        labels = torch.as_tensor(targets).to(outputs.device)
        if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f'Top-1 needs scores (N, classes) and labels (N,) of integers, got {tuple(outputs.shape)} and '
                f'{labels.dtype} {tuple(labels.shape)}'
            )
        if outputs.isnan().any():
            raise ValueError('the scores must be numbers, got NaN: check the checkpoint')
        return super().count((outputs.argmax(1) == labels)[:, None], targets)

    def document(self) -> dict[str, Any]:
        return {}


class _OwnMetric:
    """A function of outputs and targets, and one that turns sums into figures."""

    name = ''
    regions = ('overall',)

    def __init__(self, count: Callable[[Any, Any], Tensor], finish: Callable[[Tensor], Mapping[str, Tensor]]) -> None:
        self.count, self._finish, self.harm_of = count, finish, ''

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        figures = dict(self._finish(sums))
        self.harm_of = self.harm_of or next(iter(figures))
        return figures

    def document(self) -> dict[str, Any]:
        return {}


_NAMED = {
    'top1': 'mmposenc.channels.sweep:Top1',
    'rates': 'mmposenc.channels.sweep:Rates',
    'miou': 'mmposenc.regions:MeanIoU',
}


def make_metric(metric: Any, finish: Callable | None = None, **options: Any) -> Metric:
    """The metric of a name, or that of two functions; a metric is returned as it is.

    Args:
        metric: 'top1', 'miou', an object with the methods of `Metric`, or a function from outputs and targets to sums
            of each image.
        finish: For such a function: from sums to figures in %, by name. Harm is the loss of the first one.
        options: Arguments of a named metric.
    """
    if isinstance(metric, str):
        if metric not in _NAMED:
            raise ValueError(f'metric must be one of {", ".join(_NAMED)}, or an object, got {short(metric)}')
        module, _, name = _NAMED[metric].partition(':')
        return getattr(import_module(module), name)(**options)
    if hasattr(metric, 'count') and hasattr(metric, 'finish'):
        return metric
    if callable(metric) and callable(finish):
        return _OwnMetric(metric, finish)
    raise TypeError(
        f'metric must be a name, an object with count and finish, or a function with finish= beside it, got '
        f'{type(metric).__name__}'
    )
