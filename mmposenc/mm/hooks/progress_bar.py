"""A progress bar on a terminal."""

import atexit
import logging
import sys

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from mmposenc.registry import HOOKS


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """One live bar each for training, validation and testing, with rate and remaining time (ours).

    The host's log lines scroll above it. Where the output is no terminal (a file, a batch system), or in any process
    but the first, nothing is drawn: the log lines already carry the rate and the remaining time.

    Args:
        console: Where to draw. Default: the standard output.
    """

    priority = 'LOWEST'

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._progress: Progress | None = None
        self._bars: list = []
        self._streams: list[tuple[logging.StreamHandler, object]] = []

    def before_train(self, runner: Runner) -> None:
        self._open(runner, 'train', runner.max_iters, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        self._advance()

    def after_train(self, runner: Runner) -> None:
        self._close()

    def before_val_epoch(self, runner: Runner) -> None:
        self._open(runner, 'val', len(runner.val_dataloader))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: list | None = None
    ) -> None:
        self._advance()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._close()

    def before_test_epoch(self, runner: Runner) -> None:
        self._open(runner, 'test', len(runner.test_dataloader))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: list | None = None
    ) -> None:
        self._advance()

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._close()

    def close(self) -> None:
        """Take every bar away and give the log its stream back; runs at the exit of the process too."""
        while self._bars:
            self._close()

    def _open(self, runner: Runner, name: str, total: int, completed: int = 0) -> None:
        if not (self._console.is_terminal and is_main_process()):
            return
        if self._progress is None:
            columns = (
                TextColumn('{task.description}'),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.start()
            # A loop that raises calls no further hook, and a live bar hides the cursor.
            atexit.register(self.close)
            # While the bar is live, standard output is rich's, which prints above the bar; the log must go there too.
            handlers = [handler for handler in runner.logger.handlers if type(handler) is logging.StreamHandler]
            self._streams = [(handler, handler.setStream(sys.stdout)) for handler in handlers]
        self._bars.append(self._progress.add_task(name, total=total, completed=completed))

    def _advance(self) -> None:
        if self._progress is not None:
            self._progress.advance(self._bars[-1])

    def _close(self) -> None:
        if self._progress is None:
            return
        self._progress.remove_task(self._bars.pop())
        if not self._bars:
            self._progress.stop()
            self._progress = None
            atexit.unregister(self.close)
            for handler, stream in self._streams:
                handler.setStream(stream or handler.stream)
            self._streams = []


class _Rate(ProgressColumn):
    """Iterations per second."""

    def render(self, task: Task) -> Text:
        return Text('' if task.speed is None else f'{task.speed:.1f} it/s')
