"""Hooks of mmengine that write down every loss, and that bring a fault at a chosen place of a run."""

import os
import resource
import signal
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
        self._add(f'{runner.iter + 1} {outputs["loss"].item().hex()}')

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self._add(f'validated {runner.iter} {sorted(metrics.items())}')

    def _add(self, line: str) -> None:
        with open(f'{self.path}.{get_rank()}', 'a') as file:
            file.write(f'{line}\n')


@HOOKS.register_module()
class SignalAt(Hook):
    """Sends a signal to its own process in the middle of an iteration."""

    priority = 'VERY_HIGH'

    def __init__(self, name: str, iteration: int, rank: int = 0, stage: str = 'train') -> None:
        self.signal, self.place = signal.Signals[name], (stage, iteration, rank)

    def _after_iter(self, runner: Any, batch_idx: int, *args: Any, mode: str = 'train', **kwargs: Any) -> None:
        iteration = {'train': runner.iter + 1, 'val': runner.iter, 'test': batch_idx + 1}[mode]
        if (mode, iteration, get_rank()) == self.place:
            os.kill(os.getpid(), self.signal)


@HOOKS.register_module()
class FullDisk(Hook):
    """The disk is full once half of a file whose name holds `part` is written."""

    def __init__(self, part: str) -> None:
        self.part = part

    def before_run(self, runner: Any) -> None:
        write_bytes = Path.write_bytes

        def write(path: Path, content: bytes | str, **options: Any) -> int:
            data = content if isinstance(content, bytes) else content.encode()
            if self.part not in path.name:
                return write_bytes(path, data)
            # The kernel writes as much as the limit lets it, and fails; no privilege is needed.
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, limits[1]))
            try:
                return write_bytes(path, data)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        Path.write_bytes = Path.write_text = write
