"""Hooks and optimizer wrappers for mmengine's Runner."""

from .channel_ablation import ChannelAblationHook
from .head_check import HeadCheckHook
from .main_process_logger import MainProcessLoggerHook
from .progress_bar import ProgressBarHook
from .strict_checkpoint import StrictCheckpointHook
from .training import AutocastOptimWrapper, CompileBackboneHook, DeferredRuntimeInfoHook

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
