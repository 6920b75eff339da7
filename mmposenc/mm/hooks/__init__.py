"""Hooks and optimizer wrappers for mmengine's Runner."""

from .autocast_optim_wrapper import AutocastOptimWrapper
from .channel_ablation import ChannelAblationHook
from .compile_backbone import CompileBackboneHook
from .deferred_runtime_info import DeferredRuntimeInfoHook
from .head_check import HeadCheckHook
from .main_process_logger import MainProcessLoggerHook
from .progress_bar import ProgressBarHook
from .strict_checkpoint import StrictCheckpointHook

__all__ = [
    'AutocastOptimWrapper',
    'ChannelAblationHook',
    'CompileBackboneHook',
    'DeferredRuntimeInfoHook',
    'HeadCheckHook',
    'MainProcessLoggerHook',
    'ProgressBarHook',
    'StrictCheckpointHook',
]
