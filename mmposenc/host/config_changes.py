"""What the tools change in a config before they run it (ours)."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

__all__ = [
    'add_hook',
    'fill_dataloaders',
    'make_interruptible',
    'replace_sync_bn',
    'type_name',
    'use_autocast',
    'write_figures_once',
]

LOOPS = {'EpochBasedTrainLoop': 'mmposenc.ResumableEpochLoop', 'IterBasedTrainLoop': 'mmposenc.ResumableIterLoop'}


def type_name(part: Mapping[str, Any]) -> str:
    """The type of a part of a config as text, however the config gives it (ours).

    Returns:
        'X' for mmengine's types, 'mmposenc.X' for those of this project, also where the config is pure Python and its
        types are the classes themselves. '' if there is none, or none that has a name.
    """
    kind = part.get('type')
    if isinstance(kind, type):
        kind = f'{kind.__module__.partition(".")[0]}.{kind.__name__}'
    return kind.removeprefix('mmengine.') if isinstance(kind, str) else ''


def add_hook(cfg: Config, kind: str) -> None:
    """Add a hook to `custom_hooks`, unless it is there (ours)."""
    hooks = cfg.get('custom_hooks') or []
    if all(type_name(hook) != kind for hook in hooks):
        hooks = [*hooks, ConfigDict(type=kind)]
    cfg.custom_hooks = hooks


def make_interruptible(cfg: Config) -> None:
    """Let a training be killed, stopped and resumed as if nothing had been (ours).

    The host's checkpoint hook and training loops are replaced by those of this project, which take the same arguments,
    and two hooks are added. A hook or loop of the user's own stays.
    """
    _replace_default_hook(cfg, 'checkpoint', ConfigDict(type='CheckpointHook', interval=1), 'AtomicCheckpointHook')
    for hook in ('RandomStateHook', 'StopSignalHook'):
        add_hook(cfg, f'mmposenc.{hook}')
    train_cfg = cfg.get('train_cfg')
    if train_cfg and 'type' not in train_cfg:
        train_cfg.type = 'EpochBasedTrainLoop' if train_cfg.pop('by_epoch', True) else 'IterBasedTrainLoop'
    if train_cfg:
        train_cfg.type = LOOPS.get(type_name(train_cfg), train_cfg.type)


def write_figures_once(cfg: Config) -> None:
    """Let the first of several processes alone write the file of a test's figures (ours).

    The host's logger hook is replaced by this project's, which takes the same arguments. One of the user's own stays.
    """
    _replace_default_hook(cfg, 'logger', ConfigDict(type='LoggerHook'), 'MainProcessLoggerHook')


def use_autocast(cfg: Config) -> None:
    """Train in bfloat16 (`--amp`), on any device (ours).

    Raises:
        ValueError: If the config's optimizer wrapper is neither the ordinary one nor one of mixed precision.
    """
    wrapper = cfg.optim_wrapper
    kind = type_name(wrapper) if 'type' in wrapper else 'OptimWrapper'
    if kind == 'OptimWrapper':
        wrapper.type = 'mmposenc.AutocastOptimWrapper'
    elif kind not in ('AmpOptimWrapper', 'mmposenc.AutocastOptimWrapper'):
        raise ValueError(f'--amp replaces an optim_wrapper of type OptimWrapper, got {wrapper.type}; leave --amp out')


def fill_dataloaders(cfg: Config) -> None:
    """Add what mmpretrain's configs leave to its own tools (ours)."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader:
            loader.setdefault('pin_memory', torch.cuda.is_available())
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('collate_fn', ConfigDict(type='default_collate'))


def replace_sync_bn(part: Any) -> bool:
    """Let batch norm take the place of SyncBN, which PyTorch does not let several processes without GPUs have (ours).

    Args:
        part: A model's config, changed in place.

    Returns:
        Whether there was one.
    """
    if isinstance(part, list | tuple):
        return sum(replace_sync_bn(each) for each in part) > 0  # All of them, where any() would stop at the first.
    if not isinstance(part, dict):
        return False
    found = sum(replace_sync_bn(each) for each in part.values()) > 0
    if type_name(part) in ('SyncBN', 'MMSyncBN', 'torch.SyncBatchNorm'):
        part['type'] = 'BN'
        return True
    return found


def _replace_default_hook(cfg: Config, name: str, hosts: ConfigDict, own: str) -> None:
    """Replace a default hook by a subclass of this project; `hosts` is mmengine's, for a config that has none."""
    hook = cfg.setdefault('default_hooks', ConfigDict()).setdefault(name, hosts)
    if hook and type_name(hook) == hosts.type:
        hook.type = f'mmposenc.{own}'
