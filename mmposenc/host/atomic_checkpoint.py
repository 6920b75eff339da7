"""Checkpoints that survive a full disk and a killed run."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmposenc.registry import HOOKS

BACKEND = 'mmposenc.atomic'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's `CheckpointHook`, which never gives up a whole checkpoint for a part of one (ours).

    A checkpoint is written under a temporary name and renamed when it is whole. Older ones that `max_keep_ckpts` and
    `save_best` do away with are removed after the new one is in place; the host removes them before. Takes the host's
    arguments, and leaves saving to the host where `backend_args` or a remote `out_dir` name another storage.

    Example:
        >>> default_hooks = dict(checkpoint=dict(type='mmposenc.AtomicCheckpointHook', interval=1, max_keep_ckpts=1))
    """

    backend_args: dict | None

    def before_train(self, runner: Runner) -> None:
        if self.backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir):
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)
        self._remove_outdated()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        runner.call_hook('before_checkpoint')  # In every process; the host's stages are the first one's alone.
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


@register_backend(BACKEND)
class AtomicLocalBackend(LocalBackend):
    """Local files, written whole or not at all, and removed only when told that it is safe (ours)."""

    def __init__(self) -> None:
        self._outdated: dict[Path, int] = {}

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write to a temporary name beside the file, then rename.

        Raises:
            OSError: If the disk is full or cannot be written; the file that was there before is untouched.
        """
        path = Path(filepath)
        part = path.with_name(f'{path.name}.part')
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OSError(
                error.errno,
                f'{error.strerror}: {path} was not saved. The checkpoints saved before it are whole: '
                'make room and go on with --resume',
            ) from error

    def remove(self, filepath: str | Path) -> None:
        """Note the file as outdated; `remove_outdated` removes it."""
        path = Path(filepath)
        self._outdated[path] = path.stat().st_mtime_ns

    def remove_outdated(self) -> None:
        """Remove what `remove` noted, except files that were written anew since."""
        while self._outdated:
            path, noted = self._outdated.popitem()
            if path.is_file() and path.stat().st_mtime_ns == noted:
                path.unlink()
