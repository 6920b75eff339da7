"""Models, losses and device-side transforms of Sec. 3 and 4.1 (Islam, Kowal et al., ICCV 2021)."""

from mmposenc.grids.necks import PermuteNeck, SortedPoolNeck, SumPoolNeck
from mmposenc.mm.models.augshift import AugShiftClassifier, AugShiftLoss
from mmposenc.mm.models.batch import BatchPreprocessor, BatchRandomFlip, BatchRandomShift, BatchTwoViews
from mmposenc.mm.models.networks import BatchPlaceOnGrid, BlurPoolResNetCIFAR, GAPLogitHead, PositionResNet

__all__ = [
    'AugShiftClassifier', 'AugShiftLoss', 'BatchPlaceOnGrid', 'BatchPreprocessor', 'BatchRandomFlip',
    'BatchRandomShift', 'BatchTwoViews', 'BlurPoolResNetCIFAR', 'GAPLogitHead', 'PermuteNeck', 'PositionResNet',
    'SortedPoolNeck', 'SumPoolNeck',
]  # fmt: skip
