"""What the tools share: their arguments, the config, the Runner, and the line that a run ends with (ours)."""

import os
from argparse import ArgumentParser, Namespace
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmposenc.checkpoints import last_whole_checkpoint, read_resumable
from mmposenc.hosts import prepare_hosts, prepare_processes
from mmposenc.user_errors import run

__all__ = [
    'build_runner',
    'load_config',
    'load_weights',
    'make_parser',
    'report',
    'require',
    'resume',
    'run',
    'say',
    'training_result',
    'use_autocast',
]


def make_parser(description: str) -> ArgumentParser:
    """A parser with the arguments that every tool takes (ours)."""
    parser = ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument('config', help='config file of mmpretrain or mmseg, own or of this project')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/<name of the config>)')
    parser.add_argument('--cfg-options', nargs='+', action=_Options, metavar='KEY=VALUE', help='overrides, a.b.c=value')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        # torchrun says so in the environment; independent processes would write over one another's files.
        default='pytorch' if 'TORCHELASTIC_RUN_ID' in os.environ else 'none',
        help='who starts the processes (default: pytorch under torchrun, else none)',
    )
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help='let checkpoints run code: only if you trust them'
    )
    return parser


def load_config(args: Namespace) -> Config:
    """Read a config the way its host's own tool does, with the safer checkpoint hook (ours).

    Raises:
        ValueError: If the file is no valid Python.
    """
    prepare_hosts(args.trust_checkpoint)
    try:
        cfg = Config.fromfile(args.config)
    except SyntaxError as error:
        raise ValueError(f'config {args.config}, or one that it starts from, is no valid Python: {error}') from error
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    checkpoint = hooks.setdefault('checkpoint', ConfigDict(type='CheckpointHook', interval=1))
    if checkpoint and checkpoint.type == 'CheckpointHook':
        checkpoint.type = 'mmposenc.AtomicCheckpointHook'
    _add_hook(cfg, 'mmposenc.ProgressBarHook')
    if cfg.get('default_scope') == 'mmpretrain':
        _fill_dataloaders(cfg)
    return cfg


def require(cfg: Config, *keys: str) -> None:
    """Refuse a config that lacks what a tool needs (ours).

    Raises:
        ValueError: If one of the keys is absent or None.
    """
    absent = [key for key in keys if cfg.get(key) is None]
    if absent:
        raise ValueError(f'{cfg.filename} has no {", ".join(absent)}; add it, or give another config')


def use_autocast(cfg: Config) -> None:
    """Train in bfloat16 (`--amp`), on any device (ours).

    Raises:
        ValueError: If the config's optimizer wrapper is neither the ordinary one nor one of mixed precision.
    """
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind == 'OptimWrapper':
        wrapper.type = 'mmposenc.AutocastOptimWrapper'
    elif kind not in ('AmpOptimWrapper', 'mmposenc.AutocastOptimWrapper'):
        raise ValueError(f'--amp replaces an optim_wrapper of type OptimWrapper, got {kind}; leave --amp out')


def load_weights(cfg: Config, checkpoint: str) -> None:
    """Let the Runner load a checkpoint that must fit its model exactly (ours)."""
    cfg.load_from, cfg.resume = checkpoint, False
    _add_hook(cfg, 'mmposenc.StrictCheckpointHook')


def resume(cfg: Config, checkpoint: str, trust: bool = False) -> None:
    """Let the Runner go on from a checkpoint, or with `auto` from the last whole one of the work directory (ours).

    Raises:
        ValueError: If the checkpoint, or every one in the directory, is damaged or holds no training state.
    """
    if checkpoint == 'auto':
        path, reasons = last_whole_checkpoint(cfg.work_dir, trust)
        for reason in reasons:
            say(f'passed over: {reason}')
        say(f'resuming from {path}' if path else f'no checkpoint in {cfg.work_dir}: starting from the beginning')
        if path is None:
            return
        checkpoint = str(path)
    else:
        read_resumable(checkpoint, trust)
    load_weights(cfg, checkpoint)
    cfg.resume = True


def build_runner(cfg: Config) -> Runner:
    """Build the Runner; several processes are possible without a GPU too (ours)."""
    if cfg.launcher != 'none':
        prepare_processes(cfg)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def training_result(runner: Runner) -> tuple[dict[str, Any], str | None]:
    """The figures of the last validation (without one: the last loss), and the last checkpoint (ours)."""
    history = {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items() if len(buffer.data[0])}
    figures = {name[4:]: value for name, value in history.items() if name.startswith('val/')}
    figures = {name: value for name, value in figures.items() if name not in ('time', 'data_time')}
    if not figures and 'train/loss' in history:
        figures = {'loss': history['train/loss']}
    return figures, runner.message_hub.runtime_info.get('last_ckpt')


def report(figures: dict[str, Any], checkpoint: str | None) -> None:
    """Print the line that a run ends with: its figures, and where the checkpoint lies (ours)."""
    numbers = [f'{name} {value:.4g}' for name, value in figures.items() if isinstance(value, Real)]
    place = os.path.relpath(checkpoint) if checkpoint and os.path.exists(checkpoint) else checkpoint
    say(f'done: {", ".join(numbers) or "no figures"}; checkpoint: {place or "none"}')


def say(line: str) -> None:
    """Print, from the first process only (ours)."""
    if int(os.environ.get('RANK', 0)) == 0 and is_main_process():
        print(line, flush=True)


class _Options(DictAction):
    """mmengine's action, with a message for an override that is none."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        wrong = [value for value in values if '=' not in value]
        if wrong:
            parser.error(f'--cfg-options takes KEY=VALUE, got {" ".join(wrong)}')
        super().__call__(parser, namespace, values, option_string)


def _add_hook(cfg: Config, kind: str) -> None:
    hooks = cfg.get('custom_hooks') or []
    if all(hook.get('type') != kind for hook in hooks):
        hooks = [*hooks, ConfigDict(type=kind)]
    cfg.custom_hooks = hooks


def _fill_dataloaders(cfg: Config) -> None:
    """mmpretrain's configs leave these to its own tools."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader:
            loader.setdefault('pin_memory', torch.cuda.is_available())
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('collate_fn', ConfigDict(type='default_collate'))
