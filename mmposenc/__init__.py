"""Which channels of a network encode position, how much, and what the network does without them.

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021. The functions below need PyTorch, numpy and scipy; they are imported when they are
first asked for. `mmposenc.mm` registers the parts for OpenMMLab.
"""

# ruff: noqa: F401
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmposenc.version import __version__

if TYPE_CHECKING:
    from mmposenc.chance import ChanceTest, chance_test
    from mmposenc.channels import (
        Sweep,
        ablate_channels,
        random_channels,
        rank_channels,
        sweep_channels,
        top_channels,
        window,
    )
    from mmposenc.grids import LocationProbe, probe_location
    from mmposenc.ranking import Ranking
    from mmposenc.shifts import AugShiftLoss, ConsistencyCard, augshift_loss, shift_consistency, two_views

_PLACES = {
    'mmposenc.chance': 'ChanceTest chance_test',
    'mmposenc.channels': 'Sweep ablate_channels random_channels rank_channels sweep_channels top_channels window',
    'mmposenc.grids': 'LocationProbe probe_location',
    'mmposenc.ranking': 'Ranking',
    'mmposenc.shifts': 'AugShiftLoss ConsistencyCard augshift_loss shift_consistency two_views',
}
METRICS = {
    'top1': 'mmposenc.channels.Top1',
    'rates': 'mmposenc.channels.Rates',
    'miou': 'mmposenc.regions.MeanIoU',
    'detection': 'mmposenc.channels.detections.DetectionMetric',
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names.split()}

__all__ = ['__version__', *_PLACE]


def named_metric(name: str, **options: Any) -> Any:
    """What a sweep measures, by one of the names in `METRICS`; options are the metric's arguments."""
    if name not in METRICS:
        raise ValueError(f'metric must be one of {", ".join(METRICS)}, or an object, got {name!r:.60}')
    module, _, kind = METRICS[name].rpartition('.')
    return getattr(import_module(module), kind)(**options)


def __getattr__(name: str) -> Any:
    if name not in _PLACE:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_PLACE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
