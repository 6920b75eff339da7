"""Models, losses and device-side transforms of Sec. 3 and 4.1 (Islam, Kowal et al., ICCV 2021)."""

from mmposenc.mm.models.augshift import AugShiftClassifier, AugShiftLoss
from mmposenc.mm.models.batch import BatchPreprocessor, BatchRandomFlip, BatchRandomShift, BatchTwoViews
from mmposenc.mm.models.blurpool import BlurPoolResNetCIFAR
from mmposenc.mm.models.grids import (
    BatchPlaceOnGrid,
    GAPLogitHead,
    PermuteNeck,
    PositionResNet,
    SortedPoolNeck,
    SumPoolNeck,
)

__all__ = [
    'AugShiftClassifier',
    'AugShiftLoss',
    'BatchPlaceOnGrid',
    'BatchPreprocessor',
    'BatchRandomFlip',
    'BatchRandomShift',
    'BatchTwoViews',
    'BlurPoolResNetCIFAR',
    'GAPLogitHead',
    'PermuteNeck',
    'PositionResNet',
    'SortedPoolNeck',
    'SumPoolNeck',
]
