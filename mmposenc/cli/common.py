"""What the subcommands share: their arguments, the config, the Runner, and the line that a run ends with."""

import logging
import os
import socket
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # OpenMMLab and torch take seconds to import, and `--help` needs neither.
    from mmengine.config import Config
    from mmengine.logging import MMLogger
    from mmengine.runner import Runner


def add_run_arguments(parser: ArgumentParser, checkpoint: bool = True) -> None:
    """Add the arguments of every subcommand that builds a Runner."""
    add = parser.add_argument
    add('config', help='config file of mmpretrain or mmseg, or the name of one: mmposenc::NAME.py')
    if checkpoint:
        add('checkpoint', help='checkpoint file or URL; it must fit the model of the config exactly')
    add('--work-dir', help='folder for logs and checkpoints (default: work_dirs/<name of the config>)')
    add_cfg_options(parser)
    # torchrun says so in the environment; independent processes would write over one another's files.
    default = 'pytorch' if 'TORCHELASTIC_RUN_ID' in os.environ else 'none'
    who = 'who starts the processes (default: pytorch under torchrun, else none)'
    add('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default=default, help=who)
    add('--verbose', action='store_true', help='print what the log file holds, the whole config too')
    add('--trust-checkpoint', action='store_true', help='let checkpoints run code: only if you trust their authors')


def add_cfg_options(parser: ArgumentParser) -> None:
    """Add `--cfg-options`, which keeps the texts; `load_config` parses them."""
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', type=key_value, metavar='KEY=VALUE', help='overrides, a.b.c=value'
    )


def key_value(text: str) -> str:
    """The text, if it has a name before its first equals sign."""
    if not text.partition('=')[0].strip() or '=' not in text:
        raise ArgumentTypeError(f'takes KEY=VALUE, got {text:.200}')
    return text


def load_config(args: Namespace, *keys: str) -> 'Config':
    """Read a config the way mmpretrain's and mmseg's own tools do, `complete` it, and let it load `args.checkpoint`.

    ValueError if it lacks one of the keys, which the subcommand needs.
    """
    from mmposenc.host.config import complete, read_config
    from mmposenc.host.patches import prepare_hosts

    prepare_hosts(args.trust_checkpoint)
    cfg = read_config(args.config, args.cfg_options or ())
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(cfg.filename).stem)
    complete(cfg)
    if absent := [key for key in keys if cfg.get(key) is None]:
        raise ValueError(f'{cfg.filename} has no {", ".join(absent)}; add it, or give another config')
    if getattr(args, 'checkpoint', None) is not None:
        load_weights(cfg, args.checkpoint)
    return cfg


def load_weights(cfg: 'Config', checkpoint: str) -> None:
    """Let the Runner load a checkpoint that must fit its model exactly."""
    from mmposenc.host.config import add_hook

    cfg.load_from, cfg.resume = checkpoint, False
    add_hook(cfg, 'mmposenc.StrictCheckpointHook')


def resume(cfg: 'Config', checkpoint: str, trust: bool = False) -> None:
    """Let the Runner resume from a checkpoint, or with `auto` from the last whole one of the work directory."""
    from mmposenc.host.checkpoints import last_whole_checkpoint, read_resumable

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
        # mmengine takes it over too, but only when the order of the images is drawn already.
        cfg.merge_from_dict({'randomness.seed': seed})
    load_weights(cfg, checkpoint)
    cfg.resume = True


@contextmanager
def lock(cfg: 'Config', folder: str | Path, instead: str) -> Iterator[None]:
    """Keep other runs out of a folder while the block runs; the first process of several does it for all.

    The lock is gone when its process ends, however that happens, and so is the folder if nothing was written into it.
    `instead` is the option that gives another folder.
    """
    from filelock import FileLock, Timeout

    if cfg.launcher != 'none' and not is_first():
        yield
        return
    place = Path(folder)
    made = [path for path in (place, *place.parents) if not path.exists()]
    place.mkdir(parents=True, exist_ok=True)
    holder, file = place / '.lock.txt', place / '.lock'
    held = FileLock(file)
    try:
        held.acquire(blocking=False)
    except Timeout:
        who = holder.read_text() if holder.is_file() else 'it has just started'
        advice = f'wait until it has ended, or give this one another {instead}'
        raise ValueError(f'another run works in {folder} ({who}): {advice}') from None
    except OSError as error:  # Some network file systems have no locks.
        say(f'warning: {folder} cannot be locked ({error}): start no second run in it')
    try:
        started = datetime.now().astimezone().isoformat(timespec='seconds')
        holder.write_text(f'pid {os.getpid()} on {socket.gethostname()}, started {started}')
        yield
    finally:
        holder.unlink(missing_ok=True)
        with suppress(OSError):  # A folder that holds anything else stays.
            if not {*os.listdir(place)} - {file.name}:
                file.unlink(missing_ok=True)
                for path in made:
                    path.rmdir()
        held.release()


def build_runner(cfg: 'Config', verbose: bool = False) -> 'Runner':
    """Build the Runner; several processes are possible without a GPU too."""
    from mmengine.registry import RUNNERS

    from mmposenc.host.patches import prepare_processes

    if cfg.launcher != 'none' and prepare_processes(cfg):
        say('SyncBN needs GPUs: BN takes its place, and in training each process normalises by its own images')
    runner_class: Any = RUNNERS.get(cfg.get('runner_type', 'Runner'))

    class BriefRunner(runner_class):
        """Prints progress, figures and warnings; the log file holds everything."""

        def build_logger(self, *args: Any, **kwargs: Any) -> 'MMLogger':
            logger = super().build_logger(*args, **kwargs)
            logger.handlers[0].addFilter(_is_brief)
            return logger

    return (runner_class if verbose else BriefRunner).from_cfg(cfg)


def _is_brief(record: logging.LogRecord) -> bool:
    """Whether a line of the log is for the screen: warnings, progress, tables of figures, and lines of this package."""
    message, own = record.getMessage(), record.pathname.startswith(str(Path(__file__).parents[1]))
    progress = record.module == 'logger_hook' and not message.startswith('Exp name')
    return own or progress or record.levelno >= logging.WARNING or '\n+-' in message


def check_positive(args: Namespace, *names: str) -> None:
    """Refuse options that were given a number below 1."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f'--{name.replace("_", "-")} must be at least 1, got {value}')


def check_file(path: str | None) -> None:
    """Refuse an `--out` that is a folder, before the work that would be lost."""
    if path and Path(path).is_dir():
        raise ValueError(f'--out must be a file, got the folder {path}')


def report(figures: dict[str, Any], checkpoint: str | None) -> None:
    """Print the line that a run ends with: its figures, and where the checkpoint lies."""
    numbers = [f'{name} {value:.4g}' for name, value in figures.items() if isinstance(value, Real)]
    place = os.path.relpath(checkpoint) if checkpoint and os.path.exists(checkpoint) else checkpoint
    say(f'done: {", ".join(numbers) or "no figures"}; checkpoint: {place or "none"}')


def say(line: str) -> None:
    """Print, from the first process only."""
    if is_first():
        print(line, flush=True)


def is_first() -> bool:
    """Whether this is the first of several processes; until they know of one another, the environment tells."""
    distributed = sys.modules.get('torch.distributed')
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    environment = os.environ  # torchrun's, Slurm's or Open MPI's
    rank = environment.get('RANK', environment.get('SLURM_PROCID', environment.get('OMPI_COMM_WORLD_RANK', 0)))
    return int(rank) == 0
