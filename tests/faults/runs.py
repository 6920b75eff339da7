"""Runs of the tools in processes of their own, which may be killed, and what they leave."""

import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
CPU = {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
# The hosts are imported once, in a process without threads and GPU, which is forked for each run.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['runs', 'fault_hooks', 'mmposenc.cli.common', 'mmpretrain.models', 'mmseg.models'])


class Run:
    """A tool in a process and process group of its own; what it prints goes to a file."""

    def __init__(self, tool: str, *arguments: object, environment: Mapping[str, str] | None = None) -> None:
        self.log = Path(f'{tool}.log')
        number = 1
        while self.log.exists():
            self.log, number = Path(f'{tool}-{number}.log'), number + 1
        self.log.touch()
        job = (tool, [str(argument) for argument in arguments], os.getcwd(), str(self.log), dict(environment or {}))
        self.process = FORKS.Process(target=_run, args=job)
        self.process.start()

    def status(self, seconds: float = 60) -> int:
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


def _run(tool: str, arguments: list[str], folder: str, log: str, environment: dict[str, str]) -> None:
    os.setsid()
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update({**CPU, **environment})
    torch.set_num_threads(1)
    from mmposenc.cli import common as command_line

    spec = importlib.util.spec_from_file_location(f'tool_{tool}', ROOT / 'tools' / f'{tool}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    command_line.run(lambda: module.main(arguments))
    sys.stdout.flush()


def read(path: str, rank: int = 0) -> list[str]:
    """The lines that `LossRecord` has written so far."""
    file = Path(f'{path}.{rank}')
    return file.read_text().splitlines() if file.exists() else []


def same(first: Any, second: Any) -> bool:
    """Whether two parts of checkpoints have the same bits."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second
