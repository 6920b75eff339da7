"""Models, losses and device-side transforms of Sec. 3 and 4.1 (Islam, Kowal et al., ICCV 2021)."""

from mmposenc.mm.models.augshift_classifier import AugShiftClassifier
from mmposenc.mm.models.batch_place_on_grid import BatchPlaceOnGrid, place_on_grid
from mmposenc.mm.models.batch_preprocessor import BatchPreprocessor
from mmposenc.mm.models.batch_transforms import BatchRandomFlip, BatchRandomShift, BatchTwoViews, shift_images
from mmposenc.mm.models.blurpool import BlurPoolResNetCIFAR
from mmposenc.mm.models.gap_logit_head import GAPLogitHead
from mmposenc.mm.models.location_probe import LocationProbe
from mmposenc.mm.models.nin import NIN
from mmposenc.mm.models.padding_modes import conv_cfg_with_padding
from mmposenc.mm.models.permute_neck import PermuteNeck
from mmposenc.mm.models.position_resnet import PositionResNet
from mmposenc.mm.models.sorted_pool_neck import SortedPoolNeck
from mmposenc.mm.models.stage_readout_head import StageReadoutHead
from mmposenc.mm.models.sum_pool_neck import SumPoolNeck
from mmposenc.shifts.augshift import AugShiftLoss

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
