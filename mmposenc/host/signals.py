"""A training that is told to end saves its state first."""

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, get_comm_device, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from mmposenc.host.resume import BACKEND, shield_workers
from mmposenc.registry import HOOKS
from mmposenc.results import atomic_write

STOPPED = 'stopped.pth'


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Ends a training on a signal: after the iteration in progress, with a checkpoint and one line.

    SIGTERM is what batch systems send before they kill, and SIGUSR1 what `sbatch --signal=USR1@120` asks for. The
    checkpoint is `stopped.pth` in the work directory, which `--resume` resumes from; the exit status is 128 + the
    signal's number, 143 for SIGTERM. With several processes it is enough that one gets the signal: they agree one
    iteration later. A validation in progress ends at once in one process; of several processes the first saves at
    once and all end when the validation is through. Signals that the system does not have are left out.
    """

    # After every other hook's part of the iteration.
    priority = 'LOWEST'

    def __init__(self, signals: Sequence[str] = ('SIGTERM', 'SIGUSR1')) -> None:
        known = {*signal.Signals.__members__, 'SIGUSR1'}  # which Windows does not have
        if isinstance(signals, str) or not known.issuperset(signals):
            raise ValueError(f'signals must be a list of names such as SIGTERM, got {signals!r}')
        self.signals = [signal.Signals[name] for name in signals if name in signal.Signals.__members__]
        self._received = 0
        self._saved = False
        self._exchanged = torch.tensor(0)
        self._before: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is not None:
            shield_workers(runner.val_dataloader)
        if threading.current_thread() is threading.main_thread():  # No other may.
            self._before = {number: signal.signal(number, self._note) for number in self.signals}

    def after_train_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Stop here if a process has received a signal."""
        received = self._received
        if get_world_size() > 1:
            # What the processes tell one another in one iteration is read in the next: no GPU is waited for.
            before, self._exchanged = self._exchanged, self._exchange()
            received = int(before)
        if received and self._save(runner, runner.iter + 1):
            self._leave(runner, runner.iter + 1, received)

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        if self._before and self._received and not self._saved:
            self._saved = self._save(runner, runner.iter)
            if self._saved and get_world_size() == 1:
                self._leave(runner, runner.iter, self._received)

    def after_val(self, runner: Runner) -> None:
        received = int(self._exchange()) if self._before and get_world_size() > 1 else 0
        if received and self._save(runner, runner.iter):
            self._leave(runner, runner.iter, received)

    def after_train(self, runner: Runner) -> None:
        """Remove the checkpoint of an earlier stop, once there is a newer one."""
        self.after_training(runner)
        note = Path(runner.work_dir, 'last_checkpoint')
        if is_main_process() and note.is_file() and Path(note.read_text()).name != STOPPED:
            Path(runner.work_dir, STOPPED).unlink(missing_ok=True)

    def after_training(self, runner: Runner) -> None:
        """Leave the signals as they were; the loops of this package call it after an exception too."""
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

    def _save(self, runner: Runner, iteration: int) -> bool:
        """Save, unless gradients wait for those of further iterations, which no checkpoint holds."""
        if not (isinstance(runner.optim_wrapper, OptimWrapperDict) or runner.optim_wrapper.should_update()):
            return False
        runner.call_hook('before_checkpoint')
        meta = dict(epoch=runner.epoch, iter=iteration)
        runner.save_checkpoint(runner.work_dir, STOPPED, meta=meta, backend_args=dict(backend=BACKEND))
        if is_main_process():
            atomic_write(Path(runner.work_dir, 'last_checkpoint'), str(Path(runner.work_dir, STOPPED)))
        return True

    def _leave(self, runner: Runner, iteration: int, received: int) -> None:
        barrier()  # Whoever leaves while the first still writes would have it killed by torchrun.
        runner.logger.warning(
            f'stopped by {signal.Signals(received).name} after iteration {iteration} of {runner.max_iters}, saved in '
            f'{Path(runner.work_dir, STOPPED)}: the same command with --resume goes on from there'
        )
        raise SystemExit(128 + received)
