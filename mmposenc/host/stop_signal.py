"""A training that is told to end saves its state first."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, get_comm_device, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmposenc.host.atomic_checkpoint import BACKEND, AtomicLocalBackend
from mmposenc.registry import HOOKS

STOPPED = 'stopped.pth'


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Ends a training on a signal: after the iteration in progress, with a checkpoint and one line (ours).

    SIGTERM is what batch systems send before they kill, and SIGUSR1 what `sbatch --signal=USR1@120` asks for. The
    checkpoint is `stopped.pth` in the work directory, which `--resume` goes on from; the exit status is 128 + the
    signal's number, 143 for SIGTERM. With several processes it is enough that one gets the signal: they agree one
    iteration later. A validation in progress ends at once in one process; of several processes the first saves at
    once and all end when the validation is through.

    Args:
        signals: Names of the signals.

    Raises:
        ValueError: If there is no signal of a name.

    Example:
        >>> custom_hooks = [dict(type='mmposenc.StopSignalHook', signals=['SIGTERM'])]
    """

    # After every other hook's part of the iteration.
    priority = 'LOWEST'

    def __init__(self, signals: Sequence[str] = ('SIGTERM', 'SIGUSR1')) -> None:
        unknown = [name for name in signals if name not in signal.Signals.__members__]
        if isinstance(signals, str) or unknown:
            raise ValueError(f'signals must be a list of names such as SIGTERM, got {signals!r}')
        self.signals = [signal.Signals[name] for name in signals]
        self._received = 0
        self._saved = False
        self._exchanged: torch.Tensor | None = None
        self._before: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is not None:
            leave_signals_to_parent(runner.val_dataloader)
        self._received, self._saved, self._exchanged = 0, False, None
        # Only the main thread may.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.signals}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Stop here if a process has received a signal."""
        received = self._received
        if get_world_size() > 1:
            # What the processes tell one another in one iteration is read in the next: no GPU is waited for.
            before, self._exchanged = self._exchanged, self._exchange()
            received = 0 if before is None else int(before)
        if received and _is_updated(runner):
            self._save(runner, runner.iter + 1)
            self._leave(runner, runner.iter + 1, received)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        if self._received and self._before and not self._saved and _is_updated(runner):
            self._save(runner, runner.iter)
            self._saved = True
            if get_world_size() == 1:
                self._leave(runner, runner.iter, self._received)

    def after_val(self, runner: Runner) -> None:
        if get_world_size() > 1 and self._before:
            received = int(self._exchange())
            if received and _is_updated(runner):
                self._save(runner, runner.iter)
                self._leave(runner, runner.iter, received)

    def after_train(self, runner: Runner) -> None:
        """Take the checkpoint of an earlier stop away, once there is a newer one."""
        self.after_training(runner)
        stopped, note = Path(runner.work_dir, STOPPED), Path(runner.work_dir, 'last_checkpoint')
        if is_main_process() and note.is_file() and Path(note.read_text()).name != STOPPED:
            stopped.unlink(missing_ok=True)

    def after_training(self, runner: Runner) -> None:
        """Leave the signals as they were; the loops of this project call it after an exception too."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def _exchange(self) -> torch.Tensor:
        """The largest signal that any process has received, 0 for none."""
        received = torch.tensor(self._received, device=get_comm_device())
        all_reduce(received, 'max')
        return received

    def _save(self, runner: Runner, iteration: int) -> None:
        runner.call_hook('before_checkpoint')
        meta = dict(epoch=runner.epoch, iter=iteration)
        runner.save_checkpoint(runner.work_dir, STOPPED, meta=meta, backend_args=dict(backend=BACKEND))
        if is_main_process():
            path = Path(runner.work_dir, STOPPED)
            AtomicLocalBackend().put(str(path).encode(), path.with_name('last_checkpoint'))

    def _leave(self, runner: Runner, iteration: int, received: int) -> None:
        barrier()  # Whoever leaves while the first still writes would have it killed by torchrun.
        runner.logger.warning(
            f'stopped by {signal.Signals(received).name} after iteration {iteration} of {runner.max_iters}, saved in '
            f'{Path(runner.work_dir, STOPPED)}: the same command with --resume goes on from there'
        )
        raise SystemExit(128 + received)


def _is_updated(runner: Runner) -> bool:
    """Whether no gradients wait for those of further iterations; they are in no checkpoint."""
    return isinstance(runner.optim_wrapper, OptimWrapperDict) or runner.optim_wrapper.should_update()


def leave_signals_to_parent(loader: DataLoader) -> None:
    """Let the worker processes of a loader live through signals that a whole process group gets (ours).

    A batch system sends its signal to every process, and a worker that ends before the training does is an error.
    """
    if loader.num_workers:
        loader.worker_init_fn = partial(_begin_worker, loader.worker_init_fn)


def _begin_worker(then: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # Not on macOS.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_parent_says, daemon=True).start()
    if then is not None:
        then(worker)


def _end_when_parent_says() -> None:
    """SIGTERM is also how the training ends its own workers."""
    parent = multiprocessing.parent_process()
    while parent is not None and signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
        pass
    os._exit(0)
