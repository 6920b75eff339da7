"""Reading a config, and what the command line changes in it before it runs."""

import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.config.utils import MODULE2PACKAGE

PREFIX = 'mmposenc::'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
LOOPS = {'EpochBasedTrainLoop': 'mmposenc.ResumableEpochLoop', 'IterBasedTrainLoop': 'mmposenc.ResumableIterLoop'}
HOOKS = {
    'checkpoint': ('CheckpointHook', 'mmposenc.AtomicCheckpointHook', dict(interval=1)),
    'logger': ('LoggerHook', 'mmposenc.MainProcessLoggerHook', {}),
}


def config_folder() -> Path:
    """Where this package's configs are: inside an installed wheel, or beside the package in a clone."""
    package = Path(__file__).parents[1]
    installed = package / '.mim' / 'configs'
    return installed if installed.is_dir() else package.parent / 'configs'


def resolve_config_packages() -> None:
    """Let `_base_ = 'mmposenc::NAME.py'` and `_base_ = 'mmseg::...'` be found; calling it again changes nothing.

    mmengine finds `package::` configs by the name of a distribution with an index, and needs a folder in the name. It
    looks for mmseg under `mmsegmentation`, which the onedl distributions do not have.
    """
    MODULE2PACKAGE['mmseg'] = 'mmseg'
    if getattr(Config._get_cfg_path, 'finds_mmposenc', False):
        return
    find = Config._get_cfg_path

    def find_config(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return str(config_folder() / cfg_path.removeprefix(PREFIX)), None  # types are written mmposenc.X anyway
        return find(cfg_path, filename)

    find_config.finds_mmposenc = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(find_config)


def read_config(path: str, options: Sequence[str] = ()) -> Config:
    """Read a config file, which is a program and runs, or one of a package, such as mmposenc::NAME.py.

    Overrides are 'a.b.c=value'. OSError if the file cannot be read, ValueError if it fails or an override does not fit.
    """
    resolve_config_packages()
    try:
        cfg = Config.fromfile(Config._get_cfg_path(path, '')[0] if '::' in path else path)
    except OSError as error:
        raise type(error)(f'config {path} cannot be read: {error}') from error
    except Exception as error:  # It is a program, and fails in its own way.
        reason = f'{type(error).__name__}: {(str(error).splitlines() or [""])[0]:.300}'
        raise ValueError(f'config {path}, or one that it starts from, fails: {reason}') from error
    try:
        pairs = (option.split('=', maxsplit=1) for option in options)
        cfg.merge_from_dict({name: _parse(value) for name, value in pairs})
    except Exception as error:
        shown, reason = ' '.join(options), f'{type(error).__name__}: {error!s:.300}'
        raise ValueError(f'--cfg-options {shown:.200} do not fit config {path}: {reason}') from error
    return cfg


def _parse(text: str) -> Any:
    """An override's value. mmengine's parser never ends on dicts, or cuts them up: they are read as by a config."""
    if re.match(r'[\s([]*(dict\(|{)', text):
        return Config.fromstring(f'value = {text}', '.py').value
    return DictAction._parse_iterable(text)


def type_name(part: Mapping[str, Any]) -> str:
    """The type of a part of a config as text, also where it is a class: 'X' of mmengine, 'mmposenc.X'; '' for none."""
    kind = part.get('type')
    if isinstance(kind, type):
        kind = f'{kind.__module__.partition(".")[0]}.{kind.__name__}'
    return kind.removeprefix('mmengine.') if isinstance(kind, str) else ''


def add_hook(cfg: Config, kind: str) -> None:
    """Add a hook to `custom_hooks`, unless it is there."""
    hooks = cfg.get('custom_hooks') or []
    if all(type_name(hook) != kind for hook in hooks):
        cfg.custom_hooks = [*hooks, ConfigDict(type=kind)]


def complete(cfg: Config) -> None:
    """Let a config of mmpretrain or mmseg run as one of this package does; what it says itself stays.

    mmengine's checkpoint hook, logger hook and training loops, named or by default, are replaced by those of this
    package, which accept the same arguments. A progress bar, the hooks that let a training be interrupted, and the
    check of a classifier's classes are added; mmpretrain's data loaders are filled in as its own tools do.
    """
    if cfg.get('default_scope') == 'mmdet' and find_spec('mmdet') is None:
        raise ValueError(f"{cfg.filename} needs mmdet: pip install 'mmposenc[mmdet]', in an environment of its own")
    for name in ('default_hooks', 'train_cfg', *LOADERS):
        if not isinstance(cfg.get(name) or {}, dict):
            raise ValueError(f'{name} in {cfg.filename} must be a dict, got {cfg[name]!r:.60}')
    added = cfg.get('custom_hooks') or []
    if not isinstance(added, list | tuple) or not all(isinstance(hook, dict) for hook in added):
        raise ValueError(f'custom_hooks in {cfg.filename} must be a list of dicts, got {added!r:.60}')
    hooks = cfg.get('default_hooks') or ConfigDict()
    for name, (hosts, own, arguments) in HOOKS.items():
        hook = hooks.setdefault(name, ConfigDict(type=hosts, **arguments))
        if isinstance(hook, dict) and type_name(hook) == hosts:
            hook['type'] = own
    cfg.default_hooks = hooks
    for kind in ('ProgressBarHook', 'RandomStateHook', 'StopSignalHook'):
        add_hook(cfg, f'mmposenc.{kind}')
    if train_cfg := cfg.get('train_cfg'):
        if 'type' not in train_cfg:
            train_cfg.type = 'EpochBasedTrainLoop' if train_cfg.pop('by_epoch', True) else 'IterBasedTrainLoop'
        train_cfg.type = LOOPS.get(type_name(train_cfg), train_cfg.type)
    if cfg.get('default_scope') == 'mmpretrain':
        if 'head_check' not in hooks:
            add_hook(cfg, 'mmposenc.HeadCheckHook')
        for name in LOADERS:
            if loader := cfg.get(name):
                loader.setdefault('pin_memory', torch.cuda.is_available())
                loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
                loader.setdefault('collate_fn', ConfigDict(type='default_collate'))


def use_autocast(cfg: Config) -> None:
    """Train in bfloat16 (`--amp`), on any device; ValueError for another optimizer wrapper than the ordinary one."""
    wrapper = cfg.optim_wrapper
    kind = type_name(wrapper) if 'type' in wrapper else 'OptimWrapper'
    if kind == 'OptimWrapper':
        wrapper.type = 'mmposenc.AutocastOptimWrapper'
    elif kind not in ('AmpOptimWrapper', 'mmposenc.AutocastOptimWrapper'):
        raise ValueError(f'--amp replaces an optim_wrapper of type OptimWrapper, got {wrapper.type}; leave --amp out')


def deterministic(cfg: Config) -> None:
    """Let the same seed, 0 by default, give the same bits, on the same machine with as many processes and threads.

    PyTorch runs deterministic algorithms only, and refuses an operation that has none. cuDNN does not choose by timing,
    and nothing is compiled, since compilers do.
    """
    randomness = cfg.get('randomness') or {}
    seed = 0 if randomness.get('seed') is None else randomness['seed']
    cfg.randomness = {**randomness, 'seed': seed, 'deterministic': True}
    cfg.env_cfg = {**(cfg.get('env_cfg') or {}), 'cudnn_benchmark': False}
    cfg.compile = False
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if type_name(hook) != 'mmposenc.CompileBackboneHook']
    # cuBLAS reads it when CUDA starts, and PyTorch refuses a matrix product without it.
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')


def replace_sync_bn(part: Any) -> bool:
    """Replace SyncBN, which needs GPUs, by batch norm in a model's config; returns whether there was one."""
    is_dict = isinstance(part, dict)
    found = is_dict and type_name(part) in ('SyncBN', 'MMSyncBN', 'torch.SyncBatchNorm')
    if found:
        part['type'] = 'BN'
    for each in part.values() if is_dict else part if isinstance(part, list | tuple) else ():
        found |= replace_sync_bn(each)
    return found
