"""Training loops that go on from the very iteration after a checkpoint."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmposenc.host.random_state import kept_random_state
from mmposenc.host.stop_signal import leave_signals_to_parent
from mmposenc.mm.loops.data_share import loader_of
from mmposenc.registry import LOOPS

POSITION = 'epoch_position'


class _ResumableLoop(BaseLoop):
    """What both loops share: shielded workers, a validation that was due, and an end that hooks hear of."""

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, *args: Any, **kwargs: Any) -> None:
        BaseLoop.__init__(self, runner, dataloader)
        leave_signals_to_parent(self.dataloader)
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
        self._decide_current_val_interval()
        due = done >= self.val_begin and (done % self.val_interval == 0 or done == last)
        if due and self.runner.val_loop is not None:
            self.runner.val_loop.run()

    def _is_validated(self) -> bool:
        """Whether the checkpoint that the training goes on from was saved after the validation of its iteration."""
        return self.runner.message_hub.runtime_info.get('iter_validated') == self._iter


@LOOPS.register_module()
class ResumableEpochLoop(_ResumableLoop, EpochBasedTrainLoop):
    """mmengine's `EpochBasedTrainLoop`, which resumes inside an epoch (ours).

    The batches that the checkpoint has seen are skipped without loading them. A validation that was due when the
    checkpoint was saved, and is not in it, comes first; the host leaves it out. Takes the host's arguments.

    Example:
        >>> train_cfg = dict(type='mmposenc.ResumableEpochLoop', max_epochs=120, val_interval=20)
    """

    def _train(self) -> None:
        epoch, done, batches = self.runner.message_hub.runtime_info.get(POSITION, (None, 0, 0))
        inside = self._iter and epoch == self._epoch
        self._done = done if inside and batches == len(self.dataloader) else 0
        if inside and not self._done:
            self.runner.logger.warning(
                f'the checkpoint is of epochs of {batches} batches, this run has {len(self.dataloader)}: '
                'the epoch begins again'
            )
        if self._iter and not inside and not self._is_validated():
            self._validate(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate(self._epoch, self._max_epochs)

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done, self._done = self._done, 0
        for idx, batch in enumerate(_batches_from(self.dataloader, done), done):
            self.run_iter(idx, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Iterate one batch, and note where in the epoch it is."""
        self.runner.message_hub.update_info(POSITION, [self._epoch, idx + 1, len(self.dataloader)])
        super().run_iter(idx, data_batch)


@LOOPS.register_module()
class ResumableIterLoop(_ResumableLoop, IterBasedTrainLoop):
    """mmengine's `IterBasedTrainLoop`, which resumes with the random state of its checkpoint (ours).

    With mmengine's `InfiniteSampler` the batches that the checkpoint has seen are skipped without loading them, which
    mmengine before 0.10.8 does not; with another sampler they are loaded. Takes the host's arguments.

    Example:
        >>> train_cfg = dict(type='mmposenc.ResumableIterLoop', max_iters=6000, val_interval=1000)
    """

    def _train(self) -> None:
        self.runner.call_hook('before_train_epoch')
        if self._iter:
            with kept_random_state():
                self._skip()
            if not self._is_validated():
                self._validate(self._iter, self._max_iters)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')

    def _skip(self) -> None:
        if getattr(self, 'fast_forward_on_resume', False):  # A newer host's name for not skipping.
            return
        sampler, size = self.dataloader.sampler, self.dataloader.batch_size
        if isinstance(sampler, InfiniteSampler) and size:
            sampler.indices = islice(sampler._indices_of_rank(), self._iter * size, None)
            self.dataloader_iterator = iter(self.dataloader)
        else:
            for _ in range(self._iter):
                next(self.dataloader_iterator)


def _batches_from(loader: DataLoader, start: int) -> Iterable:
    """The batches of a loader from number `start` on."""
    if not start:
        return loader
    with kept_random_state():
        if loader.batch_sampler is None:
            return islice(loader, start, None)
        return iter(loader_of(list(loader.batch_sampler)[start:], loader))
