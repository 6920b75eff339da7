"""Hooks of mmengine that write down every loss, and that send a signal at a chosen place of a training."""

import multiprocessing
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class LossRecord(Hook):
    """Adds `iteration loss` to a file, the loss with all its bits."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        with open(f'{self.path}.{get_rank()}', 'a') as file:
            file.write(f'{runner.iter + 1} {outputs["loss"].item().hex()}\n')

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        with open(f'{self.path}.{get_rank()}', 'a') as file:
            file.write(f'validated {runner.iter} {sorted(metrics.items())}\n')


@HOOKS.register_module()
class SignalAt(Hook):
    """Sends a signal to its own process, or to its group, in the middle of an iteration or a validation."""

    priority = 'VERY_HIGH'

    def __init__(
        self,
        name: str,
        iteration: int,
        rank: int = 0,
        validating: bool = False,
        testing: bool = False,
        group: bool = False,
    ) -> None:
        self.signal, self.iteration, self.rank = signal.Signals[name], iteration, rank
        self.validating, self.testing, self.group = validating, testing, group

    def _send(self, iteration: int) -> None:
        if (iteration, get_rank()) == (self.iteration, self.rank):
            if self.group:  # From outside, as a batch system does.
                subprocess.run(['sh', '-c', f'kill -s {self.signal.name[3:]} 0'], check=False)
            else:
                os.kill(os.getpid(), self.signal)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if not self.validating and not self.testing:
            self._send(runner.iter + 1)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self.validating:
            self._send(runner.iter)

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self.testing:
            self._send(batch_idx + 1)


@HOOKS.register_module()
class KillWorker(Hook):
    """Kills the worker processes of the data loaders in the middle of an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 == self.iteration:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)


@HOOKS.register_module()
class FaultyWrite(Hook):
    """Half of a file whose name holds `part` is written, then the process is killed, or the disk is full."""

    def __init__(self, part: str, killed: bool) -> None:
        self.part, self.killed = part, killed

    def before_test(self, runner: Any) -> None:
        write_bytes = Path.write_bytes

        def write(path: Path, content: bytes | str, **options: Any) -> int:
            data = content if isinstance(content, bytes) else content.encode()
            if self.part not in path.name:
                return write_bytes(path, data)
            if self.killed:
                write_bytes(path, data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            # The kernel writes as much as the limit lets it, and fails; no privilege is needed.
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, limits[1]))
            try:
                return write_bytes(path, data)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        Path.write_bytes = Path.write_text = write
