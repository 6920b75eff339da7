"""Loops, hooks and optimizer wrappers for mmengine's Runner."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .autocast_optim_wrapper import AutocastOptimWrapper
from .channel_ablation_hook import ChannelAblationHook
from .compile_backbone_hook import CompileBackboneHook
from .consistency_loop import ShiftConsistencyLoop
from .deferred_runtime_info_hook import DeferredRuntimeInfoHook
from .head_check_hook import HeadCheckHook
from .main_process_logger_hook import MainProcessLoggerHook
from .progress_bar_hook import ProgressBarHook
from .random_state_hook import RandomStateHook
from .ranking_loop import ChannelRankingLoop
from .resumable_loops import ResumableEpochLoop, ResumableIterLoop
from .stop_signal_hook import StopSignalHook
from .strict_checkpoint_hook import StrictCheckpointHook
from .sweep_loop import AblationSweepLoop

__all__ = [
    'AblationSweepLoop',
    'AtomicCheckpointHook',
    'AutocastOptimWrapper',
    'ChannelAblationHook',
    'ChannelRankingLoop',
    'CompileBackboneHook',
    'DeferredRuntimeInfoHook',
    'HeadCheckHook',
    'MainProcessLoggerHook',
    'ProgressBarHook',
    'RandomStateHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'ShiftConsistencyLoop',
    'StopSignalHook',
    'StrictCheckpointHook',
]
