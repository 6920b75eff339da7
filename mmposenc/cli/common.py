"""What the tools share: their arguments, the config, the Runner, and the line that a run ends with (ours)."""

import os
from argparse import ArgumentParser, Namespace
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from pathlib import Path
from typing import Any

try:
    import torch
    from mmengine.config import Config
    from mmengine.device import get_device
    from mmengine.dist import is_main_process
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from mmposenc.host.checkpoints import last_whole_checkpoint, read_resumable
    from mmposenc.host.config_changes import (
        add_hook,
        fill_dataloaders,
        make_interruptible,
        replace_sync_bn,
        use_autocast,
        write_figures_once,
    )
    from mmposenc.host.config_file import Options, read_config
    from mmposenc.host.determinism import deterministic
    from mmposenc.host.errors import run
    from mmposenc.host.patches import prepare_hosts, prepare_processes
    from mmposenc.host.work_dir_lock import lock_folder
except ModuleNotFoundError as error:
    raise SystemExit(
        f"error: {error}: the tools need the OpenMMLab stack, pip install 'mmposenc[onedl]' (or 'mmposenc[openmmlab]', "
        'the official distributions, in an environment of its own)'
    ) from None

__all__ = [
    'autocast',
    'build_runner',
    'deterministic',
    'load_config',
    'load_weights',
    'lock',
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
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE', help='overrides, a.b.c=value')
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
    """Read a config the way its host's own tool does, and let its training be interrupted and resumed (ours).

    The host's checkpoint hook, logger hook and training loops are replaced by those of this project, which take the
    same arguments.

    Raises:
        ValueError: If the file is no valid config, or an override does not fit.
    """
    prepare_hosts(args.trust_checkpoint)
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    add_hook(cfg, 'mmposenc.ProgressBarHook')
    make_interruptible(cfg)
    write_figures_once(cfg)
    if cfg.get('default_scope') == 'mmpretrain':
        fill_dataloaders(cfg)
    return cfg


def require(cfg: Config, *keys: str) -> None:
    """Refuse a config that lacks what a tool needs (ours).

    Raises:
        ValueError: If one of the keys is absent or None.
    """
    absent = [key for key in keys if cfg.get(key) is None]
    if absent:
        raise ValueError(f'{cfg.filename} has no {", ".join(absent)}; add it, or give another config')


def autocast(enabled: bool) -> torch.autocast:
    """Test in bfloat16 (`--amp`), on any device (ours)."""
    return torch.autocast(get_device(), torch.bfloat16, enabled=enabled)


def load_weights(cfg: Config, checkpoint: str) -> None:
    """Let the Runner load a checkpoint that must fit its model exactly (ours)."""
    cfg.load_from, cfg.resume = checkpoint, False
    add_hook(cfg, 'mmposenc.StrictCheckpointHook')


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
    seed = read_resumable(checkpoint, trust)['meta'].get('seed')
    if (cfg.get('randomness') or {}).get('seed') is None:
        # The host takes it over too, but only when the order of the images is drawn already.
        cfg.merge_from_dict({'randomness.seed': seed})
    load_weights(cfg, checkpoint)
    cfg.resume = True


def lock(cfg: Config, folder: str | Path, instead: str) -> AbstractContextManager[None]:
    """Keep other runs out of a folder; the first process of several does it for all (ours).

    Args:
        cfg: As `load_config` gives it.
        folder: That the run writes into.
        instead: The option that names another folder.
    """
    first = cfg.launcher == 'none' or _first_of_environment()
    return lock_folder(folder, instead) if first else nullcontext()


def build_runner(cfg: Config) -> Runner:
    """Build the Runner; several processes are possible without a GPU too (ours)."""
    if cfg.launcher != 'none':
        prepare_processes(cfg)
        if not torch.cuda.is_available() and replace_sync_bn(cfg.get('model')):
            say('SyncBN needs GPUs: BN takes its place, and in training each process normalises by its own images')
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
    if _first_of_environment() and is_main_process():
        print(line, flush=True)


def _first_of_environment() -> bool:
    """Before the processes know of one another, the environment tells: torchrun's, Slurm's or Open MPI's."""
    environment = os.environ
    rank = environment.get('RANK', environment.get('SLURM_PROCID', environment.get('OMPI_COMM_WORLD_RANK', 0)))
    return int(rank) == 0
