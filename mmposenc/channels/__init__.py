"""Which channels encode position, and what the network does without them (Sec. 4.2).

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021. It needs PyTorch, numpy and scipy alone, and works with any network.
"""

from mmposenc.channels.ablation import (
    ablate_channels,
    ablated,
    matched_random_channels,
    random_channels,
    top_channels,
    window,
)
from mmposenc.channels.pairs import IMAGE_CHANGES, PAIRS, PairMember, flipped_kernels, pooled_pairs
from mmposenc.channels.rank import PairedSums, collect_sums, rank_channels
from mmposenc.channels.sweep import Metric, Rates, Sweep, SweepCurve, SweepPlan, Top1, sweep_channels
from mmposenc.ranking import PAIR_NAMES, STATISTICS, Ranking

__all__ = [
    'IMAGE_CHANGES',
    'PAIRS',
    'PAIR_NAMES',
    'STATISTICS',
    'Metric',
    'PairMember',
    'PairedSums',
    'Ranking',
    'Rates',
    'Sweep',
    'SweepCurve',
    'SweepPlan',
    'Top1',
    'ablate_channels',
    'ablated',
    'collect_sums',
    'flipped_kernels',
    'matched_random_channels',
    'pooled_pairs',
    'random_channels',
    'rank_channels',
    'sweep_channels',
    'top_channels',
    'window',
]
