"""Models, losses and device-side transforms of Sec. 3 and 4.1 (Islam, Kowal et al., ICCV 2021)."""

from .augshift_classifier import AugShiftClassifier
from .augshift_loss import AugShiftLoss
from .batch_place_on_grid import BatchPlaceOnGrid, place_on_grid
from .batch_preprocessor import BatchPreprocessor
from .batch_transforms import BatchRandomFlip, BatchRandomShift, BatchTwoViews, shift_images
from .blurpool import BlurPoolResNetCIFAR
from .gap_logit_head import GAPLogitHead
from .location_probe import LocationProbe
from .nin import NIN
from .padding_modes import conv_cfg_with_padding
from .permute_neck import PermuteNeck
from .position_resnet import PositionResNet
from .sorted_pool_neck import SortedPoolNeck
from .stage_readout_head import StageReadoutHead
from .sum_pool_neck import SumPoolNeck

__all__ = [
    'NIN',
    'AugShiftClassifier',
    'AugShiftLoss',
    'BatchPlaceOnGrid',
    'BatchPreprocessor',
    'BatchRandomFlip',
    'BatchRandomShift',
    'BatchTwoViews',
    'BlurPoolResNetCIFAR',
    'GAPLogitHead',
    'LocationProbe',
    'PermuteNeck',
    'PositionResNet',
    'SortedPoolNeck',
    'StageReadoutHead',
    'SumPoolNeck',
    'conv_cfg_with_padding',
    'place_on_grid',
    'shift_images',
]
