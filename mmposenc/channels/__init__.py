"""Which channels encode position, and what the network does without them (Sec. 4.2).

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021. This folder needs PyTorch alone, and works with any `torch.nn.Module`.
"""

from mmposenc.channels.ablation import Ablation, ablate_channels
from mmposenc.channels.all_branches_sweep import AllBranchesSweep
from mmposenc.channels.aspp_parts import ASPPRecord, record_aspp
from mmposenc.channels.channel_choice import random_channels, random_ranking, top_channels, window
from mmposenc.channels.kernel_flip import flipped_kernels
from mmposenc.channels.nested_sweep import nested_sweep, replayed
from mmposenc.channels.pairs import IMAGE_CHANGES, PAIRS, PairMember, pooled_pairs
from mmposenc.channels.pooled_branch_sweep import PooledBranchSweep
from mmposenc.channels.rank import collect_sums, rank_channels
from mmposenc.channels.sums import STATISTICS, PairedSums
from mmposenc.channels.sweep import Metric, Sweep, SweepCurve, SweepPlan, Top1
from mmposenc.layers import PooledRecord, find_module, pooled_features, record_pooled, split_layer
from mmposenc.ranking import Ranking, file_sha256, model_fingerprint

__all__ = [
    'IMAGE_CHANGES',
    'PAIRS',
    'STATISTICS',
    'ASPPRecord',
    'Ablation',
    'AllBranchesSweep',
    'PairMember',
    'PairedSums',
    'PooledBranchSweep',
    'PooledRecord',
    'Ranking',
    'Metric',
    'Sweep',
    'SweepCurve',
    'SweepPlan',
    'Top1',
    'ablate_channels',
    'collect_sums',
    'file_sha256',
    'find_module',
    'flipped_kernels',
    'model_fingerprint',
    'nested_sweep',
    'pooled_features',
    'pooled_pairs',
    'random_channels',
    'random_ranking',
    'rank_channels',
    'record_aspp',
    'record_pooled',
    'replayed',
    'split_layer',
    'top_channels',
    'window',
]
