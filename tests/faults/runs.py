"""Commands in processes of their own, which may be killed, and what they leave."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

CPU = {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
# OpenMMLab is imported once, in a process without threads and GPU, which is forked for each run.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['runs', 'fault_hooks', 'mmposenc.host.patches', 'mmpretrain.models', 'mmseg.models'])


class Run:
    """A command in a process and process group of its own; what it prints goes to a file."""

    def __init__(self, *arguments: object, environment: Mapping[str, str] | None = None) -> None:
        number = len(list(Path().glob('*.log')))
        self.log = Path(f'{number}.log')
        self.log.touch()
        job = ([str(argument) for argument in arguments], os.getcwd(), str(self.log), dict(environment or {}))
        self.process = FORKS.Process(target=_run, args=job)
        self.process.start()

    def status(self, seconds: float = 90) -> int:
        """The exit status, negative for a signal; a run that takes longer is killed and is a failure."""
        self.process.join(seconds)
        late = self.process.exitcode is None
        self.kill()
        if late:
            raise TimeoutError(f'not ended after {seconds} s:\n{self.text()}')
        return self.process.exitcode

    def kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join(10)

    def text(self) -> str:
        return self.log.read_text()

    def errors(self) -> list[str]:
        return [line for line in self.text().splitlines() if line.startswith('error: ')]


def _run(arguments: list[str], folder: str, log: str, environment: dict[str, str]) -> None:
    os.setsid()
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update({**CPU, **environment})
    torch.set_num_threads(1)
    from mmposenc.cli import main

    sys.argv = ['mmposenc', *arguments]
    main()
    sys.stdout.flush()


def read(path: str, rank: int = 0) -> list[str]:
    """The lines that `LossRecord` has written so far."""
    file = Path(f'{path}.{rank}')
    return file.read_text().splitlines() if file.exists() else []


def same(first: Any, second: Any) -> bool:
    """Whether two parts of checkpoints have the same bits."""
    if isinstance(first, torch.Tensor | np.ndarray):
        return bool((first == second).all())
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second
