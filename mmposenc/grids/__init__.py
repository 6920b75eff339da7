"""Sec. 3: patches on a grid, read-outs of their cell, and the position that pooled features hold.

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021.
"""

from mmposenc.grids.canvas import place_on_grid
from mmposenc.grids.necks import PermuteNeck, SortedPoolNeck, SumPoolNeck
from mmposenc.grids.padding import Padding
from mmposenc.grids.probe import LocationProbe, probe_location
from mmposenc.grids.readouts import read_cells
from mmposenc.grids.variance import PositionVariance, position_variance
from mmposenc.grids.weights import without_position_embedding

__all__ = [
    'LocationProbe',
    'Padding',
    'PermuteNeck',
    'PositionVariance',
    'SortedPoolNeck',
    'SumPoolNeck',
    'place_on_grid',
    'position_variance',
    'probe_location',
    'read_cells',
    'without_position_embedding',
]
