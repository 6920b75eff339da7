"""What the command line adds to a run: checks of checkpoint and head, a progress bar, a test's figures written once."""

import atexit
import logging
import sys
from contextlib import ExitStack

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch import nn
from torch.utils.data import DataLoader

from mmposenc.host.checkpoints import load_exactly
from mmposenc.layers import unwrap_model
from mmposenc.mm.loops.rank import ChannelRankingLoop
from mmposenc.registry import HOOKS


@HOOKS.register_module()
class MainProcessLoggerHook(LoggerHook):
    """mmengine's `LoggerHook`, but of several processes only the first writes the JSON file of a test."""

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        super().after_test_epoch(runner, metrics)


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Stops a run whose checkpoint does not fit its model exactly, where mmengine goes on with whatever fits.

    The command line adds it to every test and every resumed training; `load_from` without resuming stays lenient.
    """

    # After every hook that changes the checkpoint, such as mmengine's EMAHook.
    priority = 'LOWEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Load it here, before mmengine loads it leniently."""
        weights = checkpoint.get('state_dict', checkpoint)
        load_exactly(unwrap_model(runner.model), weights, f'{runner.model_name} of this config')


@HOOKS.register_module()
class HeadCheckHook(Hook):
    """Stops a run whose head has other classes than its data, the cells of a grid among them (Sec. 3, Table 1).

    A head with too many outputs would train as if nothing were wrong, and mmengine loads a checkpoint of another grid
    without its head. Ranking channels needs no labels, so any data will do there.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        for loop in filter(None, (runner.train_loop, runner.val_loop)):
            _check_classes(runner.model, loop.dataloader)

    def before_val(self, runner: Runner) -> None:
        _check_classes(runner.model, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        if not isinstance(runner.test_loop, ChannelRankingLoop):
            _check_classes(runner.model, runner.test_dataloader)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        trained_for = checkpoint.get('meta', {}).get('dataset_meta') or {}
        got, expected = len(trained_for.get('classes', ())), _classes_of_head(runner.model)
        if 'grid_size' in trained_for and expected not in (None, got):
            side = trained_for['grid_size']
            trained = f'trained for {trained_for["task"]} on a {side}x{side} grid ({got} classes)'
            reuse = "backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.'))"
            advice = f'use the config it was trained with, or its backbone alone: {reuse}'
            raise ValueError(f'the checkpoint was {trained}, but model.head.num_classes is {expected}; {advice}')


def _classes_of_head(model: nn.Module) -> int | None:
    return getattr(getattr(unwrap_model(model), 'head', None), 'num_classes', None)


def _check_classes(model: nn.Module, dataloader: DataLoader) -> None:
    meta = getattr(dataloader.dataset, 'metainfo', None) or {}
    got, expected = _classes_of_head(model), len(meta.get('classes') or ())  # a grid's classes are its cells
    if got is not None and expected and got != expected:
        reason = f'the classes of {type(dataloader.dataset).__name__}'
        if meta.get('task') == 'location':
            reason = f'the data set asks for the location on a {meta["grid_size"]}x{meta["grid_size"]} grid'
        raise ValueError(f'model.head.num_classes must be {expected} ({reason}), got {got}; set it in the config')


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """One live bar each for training, validation and testing, drawn by the first process where there is a terminal."""

    priority = 'LOWEST'

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._progress: Progress | None = None
        self._bars: list = []
        self._restore = ExitStack()  # ends the live display, and gives the log its streams back

    def before_train(self, runner: Runner) -> None:
        self._open(runner, 'train', runner.max_iters, runner.iter)

    def after_train(self, runner: Runner) -> None:
        self._close()

    # mmengine's hooks call these for training, validation and testing alike.
    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._open(runner, mode, len(getattr(runner, f'{mode}_dataloader')))

    def _after_iter(self, runner: Runner, batch_idx: int, *args: object, **kwargs: object) -> None:
        if self._progress:
            self._progress.advance(self._bars[-1])

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._close()

    def close(self) -> None:
        """Remove every bar and give the log its stream back; runs at the exit of the process too."""
        while self._bars:
            self._close()

    def _open(self, runner: Runner, name: str, total: int, completed: int = 0) -> None:
        if not (self._console.is_terminal and is_main_process()):
            return
        if self._progress is None:
            columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), _Rate()
            self._progress = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._restore.enter_context(self._progress)
            # A loop that raises calls no further hook, and a live bar hides the cursor.
            atexit.register(self.close)
            # While the bar is live, standard output is rich's, which prints above the bar; the log must go there too.
            for handler in runner.logger.handlers:
                if type(handler) is logging.StreamHandler and (stream := handler.setStream(sys.stdout)):
                    self._restore.callback(handler.setStream, stream)
        self._bars.append(self._progress.add_task(name, total=total, completed=completed))

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.remove_task(self._bars.pop())
            if not self._bars:
                self._restore.close()
                self._progress = None
                atexit.unregister(self.close)


class _Rate(ProgressColumn):
    """Iterations per second."""

    def render(self, task: Task) -> Text:
        return Text('' if task.speed is None else f'{task.speed:.1f} it/s')
