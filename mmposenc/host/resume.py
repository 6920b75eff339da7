"""A training that is interrupted, or told to end, resumes from the next iteration as if nothing had happened."""

import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine import dist
from mmengine.dataset import InfiniteSampler
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmposenc.registry import HOOKS, LOOPS
from mmposenc.results import atomic_write

BACKEND = 'mmposenc.atomic'
STOPPED = 'stopped.pth'
RANDOM_STATES = 'rng_states'  # in a checkpoint: of each process
EPOCH = 'epoch_began'  # in the message hub: the epoch, the iteration it began with, its number of batches


@register_backend(BACKEND)
class AtomicLocalBackend(LocalBackend):
    """Local files that are never partially written, and removed only when told that it is safe."""

    _outdated: ClassVar[set[Path]] = set()  # mmengine makes a backend for each file

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; if that fails, the one that was there before is untouched."""
        self._outdated.discard(Path(filepath))
        try:
            atomic_write(filepath, obj)
        except OSError as error:
            fate = f'{filepath} was not saved. The checkpoints saved before it are whole: make room and resume with'
            raise OSError(error.errno, f'{error.strerror}: {fate} --resume') from error

    def remove(self, filepath: str | Path) -> None:
        """Note the file as outdated; `remove_outdated` removes it."""
        self._outdated.add(Path(filepath))

    def remove_outdated(self) -> None:
        """Remove what `remove` noted, except files that were written anew since."""
        while self._outdated:
            self._outdated.pop().unlink(missing_ok=True)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's `CheckpointHook`, but older checkpoints are removed once the new one is in place, not before.

    With `backend_args` or a remote `out_dir`, mmengine saves.
    """

    backend_args: dict | None

    def before_train(self, runner: Runner) -> None:
        if self.backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir):
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        runner.call_hook('before_checkpoint')  # In every process; mmengine's stages are the first one's alone.
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        # What is saved from here on needs no validation when it is resumed.
        runner.message_hub.update_info('iter_validated', runner.iter)
        super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        if isinstance(self.file_backend, AtomicLocalBackend):
            self.file_backend.remove_outdated()


def read_random_state() -> dict[str, Any]:
    """The state of PyTorch (CPU and current GPU), numpy and Python, as a checkpoint may hold it."""
    state = {'torch': torch.get_rng_state(), 'numpy': np.random.get_state(), 'python': random.getstate()}
    return state | ({'cuda': torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what `read_random_state` returned, from whatever device it was loaded to."""
    torch.set_rng_state(state['torch'].cpu())
    np.random.set_state(state['numpy'])
    random.setstate(state['python'])
    if torch.cuda.is_available() and 'cuda' in state:
        torch.cuda.set_rng_state(state['cuda'].cpu())


@contextmanager
def kept_random_state() -> Iterator[None]:
    """What is drawn after the block is the same as without it."""
    state = read_random_state()
    try:
        yield
    finally:
        set_random_state(state)


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Saves the random state of every process in the checkpoint, and restores it on resume.

    The state before a validation is restored after it, so that training does not depend on when it is validated. With
    several processes every one must take part before the first saves: `AtomicCheckpointHook` and `StopSignalHook` call
    `before_checkpoint` for that. Other checkpoint hooks save no random state then, and the resumed run says so.
    """

    # What another hook draws before the training begins is drawn before the state is restored.
    priority = 'LOWEST'

    def __init__(self) -> None:
        # Of all processes: in the loaded checkpoint, before a validation, for the next checkpoint.
        self._loaded: list = []
        self._before_val: list = []
        self._gathered: list = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._loaded = checkpoint.get(RANDOM_STATES) or []

    def before_train(self, runner: Runner) -> None:
        """Restore, unless the checkpoint only gave the weights to begin with."""
        states, self._loaded = self._loaded, []
        if runner.iter and len(states) == dist.get_world_size():
            set_random_state(states[dist.get_rank()])
        elif runner.iter:
            processes = f'is of {len(states)} processes, this run has {dist.get_world_size()}'
            found = processes if states else 'holds no random state'
            runner.logger.warning(f'the checkpoint {found}: augmentations start from new random numbers')

    def before_val(self, runner: Runner) -> None:
        self._before_val = dist.all_gather_object(read_random_state())

    def after_val(self, runner: Runner) -> None:
        set_random_state(self._before_val[dist.get_rank()])
        self._before_val = []

    def before_checkpoint(self, runner: Runner) -> None:
        """Gather the states; every process calls it, the first one saves next."""
        self._gathered = self._before_val or dist.all_gather_object(read_random_state())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the states; only the first process comes here."""
        if dist.get_world_size() == 1:
            self.before_checkpoint(runner)
        if states := self._gathered or self._before_val:
            checkpoint[RANDOM_STATES] = states
        self._gathered = []


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Ends a training on a signal: after the iteration in progress, with a checkpoint and one line.

    SIGTERM is what batch systems send before they kill, and SIGUSR1 what `sbatch --signal=USR1@120` asks for. The
    checkpoint is `stopped.pth` in the work directory, which `--resume` resumes from; the exit status is 128 + the
    signal's number. With several processes it is enough that one gets the signal: they agree one iteration later. A
    validation in progress ends at once in one process; of several the first saves at once and all end after it.
    """

    # After every other hook's part of the iteration.
    priority = 'LOWEST'

    def __init__(self, signals: Sequence[str] = ('SIGTERM', 'SIGUSR1')) -> None:
        known = {*signal.Signals.__members__, 'SIGUSR1'}  # which Windows does not have
        if isinstance(signals, str) or not known.issuperset(signals):
            raise ValueError(f'signals must be a list of names such as SIGTERM, got {signals!r}')
        self.signals = [signal.Signals[name] for name in signals if name in signal.Signals.__members__]
        self._received, self._saved, self._exchanged = 0, False, torch.tensor(0)
        self._before: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is not None:
            shield_workers(runner.val_dataloader)
        if threading.current_thread() is threading.main_thread():  # No other may.
            self._before = {number: signal.signal(number, self._note) for number in self.signals}

    def after_train_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Stop here if a process has received a signal."""
        received = self._received
        if dist.get_world_size() > 1:
            # What the processes tell one another in one iteration is read in the next: no GPU is waited for.
            before, self._exchanged = self._exchanged, self._exchange()
            received = int(before)
        if received and self._save(runner, runner.iter + 1):
            self._leave(runner, runner.iter + 1, received)

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        if self._before and self._received and not self._saved:
            self._saved = self._save(runner, runner.iter)
            if self._saved and dist.get_world_size() == 1:
                self._leave(runner, runner.iter, self._received)

    def after_val(self, runner: Runner) -> None:
        received = int(self._exchange()) if self._before and dist.get_world_size() > 1 else 0
        if received and self._save(runner, runner.iter):
            self._leave(runner, runner.iter, received)

    def after_train(self, runner: Runner) -> None:
        """Remove the checkpoint of an earlier stop, once there is a newer one."""
        self.after_training(runner)
        note = Path(runner.work_dir, 'last_checkpoint')
        if dist.is_main_process() and note.is_file() and Path(note.read_text()).name != STOPPED:
            Path(runner.work_dir, STOPPED).unlink(missing_ok=True)

    def after_training(self, runner: Runner) -> None:
        """Leave the signals as they were, after an exception too."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def _exchange(self) -> torch.Tensor:
        """The largest signal that any process has received, 0 for none."""
        received = torch.tensor(self._received, device=dist.get_comm_device())
        dist.all_reduce(received, 'max')
        return received

    def _save(self, runner: Runner, iteration: int) -> bool:
        """Save, unless gradients wait for those of further iterations, which no checkpoint holds."""
        if not (isinstance(runner.optim_wrapper, OptimWrapperDict) or runner.optim_wrapper.should_update()):
            return False
        runner.call_hook('before_checkpoint')
        meta = dict(epoch=runner.epoch, iter=iteration)
        runner.save_checkpoint(runner.work_dir, STOPPED, meta=meta, backend_args=dict(backend=BACKEND))
        if dist.is_main_process():
            atomic_write(Path(runner.work_dir, 'last_checkpoint'), str(Path(runner.work_dir, STOPPED)))
        return True

    def _leave(self, runner: Runner, iteration: int, received: int) -> None:
        dist.barrier()  # Whoever leaves while the first still writes would have it killed by torchrun.
        runner.logger.warning(
            f'stopped by {signal.Signals(received).name} after iteration {iteration} of {runner.max_iters}, saved in '
            f'{Path(runner.work_dir, STOPPED)}: the same command with --resume goes on from there'
        )
        raise SystemExit(128 + received)


class _ResumableLoop(BaseLoop):
    """What both loops share: shielded workers, a validation that was due, and an end that hooks hear of."""

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, *args: Any, **kwargs: Any) -> None:
        BaseLoop.__init__(self, runner, dataloader)
        shield_workers(self.dataloader)
        super().__init__(runner, self.dataloader, *args, **kwargs)

    def run(self) -> nn.Module:
        """Train; hooks' `after_training` is called after an exception too."""
        try:
            self.runner.call_hook('before_train')
            self._train()
            self.runner.call_hook('after_train')
        finally:
            self.runner.call_hook('after_training')
        return self.runner.model

    def _validate(self, done: int, last: int) -> None:
        """Validate if it is due now, and was not done before the checkpoint."""
        self._decide_current_val_interval()
        due = self._iter and done >= self.val_begin and (done % self.val_interval == 0 or done == last)
        validated = self.runner.message_hub.runtime_info.get('iter_validated') == self._iter
        if due and not validated and self.runner.val_loop is not None:
            self.runner.val_loop.run()


@LOOPS.register_module()
class ResumableEpochLoop(_ResumableLoop, EpochBasedTrainLoop):
    """mmengine's `EpochBasedTrainLoop`, which resumes inside an epoch, without loading the batches that were seen.

    A validation that was due when the checkpoint was saved, and is not in it, comes first.
    """

    def _train(self) -> None:
        epoch, first, batches = self.runner.message_hub.runtime_info.get(EPOCH, (None, 0, 0))
        if self._iter and epoch == self._epoch:
            self.run_epoch(self._iter - first, batches)
        while True:
            self._validate(self._epoch, self._max_epochs)
            if self._epoch >= self._max_epochs or self.stop_training:
                break
            self.run_epoch()

    def run_epoch(self, done: int = 0, batches: int = 0) -> None:
        """Train for the rest of an epoch, of which `done` of `batches` are in the checkpoint."""
        found = len(self.dataloader)
        if done and (batches != found or self.dataloader.batch_sampler is None):
            reason = f'this run has a loader of {found} batches that cannot continue there: the epoch begins again'
            self.runner.logger.warning(f'the checkpoint is of batch {done} of {batches}, {reason}')
            done = 0
        self.runner.message_hub.update_info(EPOCH, [self._epoch, self._iter - done, found])
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, batch in enumerate(_batches_from(self.dataloader, done), done):
            self.run_iter(idx, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ResumableIterLoop(_ResumableLoop, IterBasedTrainLoop):
    """mmengine's `IterBasedTrainLoop`, which resumes with the random state of its checkpoint.

    With mmengine's `InfiniteSampler` the batches that were seen are not loaded, as in mmengine from 0.10.8 on.
    """

    def _train(self) -> None:
        self.runner.call_hook('before_train_epoch')
        if self._iter and not getattr(self, 'fast_forward_on_resume', False):  # mmengine's name for not skipping
            if isinstance(getattr(self.dataloader.batch_sampler, 'sampler', None), InfiniteSampler):
                self.dataloader_iterator = _batches_from(self.dataloader, self._iter)
            else:
                with kept_random_state():
                    for _ in range(self._iter):
                        next(self.dataloader_iterator)
        self._validate(self._iter, self._max_iters)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')


def _batches_from(loader: DataLoader, start: int) -> Iterator:
    """The batches of a loader from number `start` on."""
    if not start:
        return iter(loader)
    batches = islice(loader.batch_sampler or (), start, None)
    with kept_random_state():
        return iter(with_batches(loader, batches, loader.dataset))


def with_batches(loader: DataLoader, batches: Iterable[list[int]], data_set: Any) -> DataLoader:
    """A loader with the options of another one, for the batches and data set given."""
    names = ('num_workers', 'collate_fn', 'pin_memory', 'worker_init_fn', 'prefetch_factor', 'multiprocessing_context')
    return DataLoader(data_set, batch_sampler=batches, **{name: getattr(loader, name) for name in names})


def shield_workers(loader: DataLoader) -> None:
    """Let a loader's workers live through signals that a batch system sends to every process of a job."""
    if loader.num_workers:
        loader.worker_init_fn = partial(_begin_worker, loader.worker_init_fn)


def _begin_worker(then: Callable[[int], None] | None, worker: int) -> None:
    if hasattr(signal, 'SIGUSR1'):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # Not on macOS or Windows.
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
