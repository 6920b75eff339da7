"""Which channels encode position, and what the network does without them (Sec. 4.2).

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021. This folder needs PyTorch alone, and works with any `torch.nn.Module`.
"""

from .ablation import Ablation, ablate_channels
from .all_branches_sweep import AllBranchesSweep
from .aspp_parts import ASPPRecord, record_aspp
from .channel_choice import random_channels, random_ranking, top_channels, window
from .fingerprint import file_sha256, model_fingerprint
from .kernel_flip import flipped_kernels
from .nested_sweep import nested_sweep, replayed
from .paired_sums import STATISTICS, PairedSums
from .pairs import IMAGE_CHANGES, PAIRS, PairMember, pooled_pairs
from .pooled_branch_sweep import PooledBranchSweep
from .pooled_features import PooledRecord, find_module, pooled_features, record_pooled, split_layer
from .ranking import Ranking
from .ranking_pass import collect_sums, rank_channels
from .sweep_plan import SweepGroup, SweepPlan, SweepVariant

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
    'SweepGroup',
    'SweepPlan',
    'SweepVariant',
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
