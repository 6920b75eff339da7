"""Hooks and optimizer wrappers for mmengine's Runner."""

from .channel_ablation import ChannelAblationHook
from .runtime import HeadCheckHook, MainProcessLoggerHook, ProgressBarHook, StrictCheckpointHook
from .training import AutocastOptimWrapper, CompileBackboneHook, DeferredRuntimeInfoHook

__all__ = [
    'AutocastOptimWrapper', 'ChannelAblationHook', 'CompileBackboneHook', 'DeferredRuntimeInfoHook', 'HeadCheckHook',
    'MainProcessLoggerHook', 'ProgressBarHook', 'StrictCheckpointHook',
]  # fmt: skip
