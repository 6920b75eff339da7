"""The bar: on a terminal only, log lines above it, nothing left behind."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from mmposenc.mm.hooks.progress_bar import ProgressBarHook


@pytest.fixture
def runner() -> SimpleNamespace:
    logger = logging.Logger('run')
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    return SimpleNamespace(logger=logger, max_iters=20, iter=5, val_dataloader=range(3), test_dataloader=range(4))


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def test_nothing_is_drawn_where_there_is_no_terminal(runner: SimpleNamespace) -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    hook = ProgressBarHook(console)
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    hook.after_train(runner)
    assert console.file.getvalue() == ''


def test_it_counts_from_where_a_resumed_run_stands(runner: SimpleNamespace) -> None:
    console = terminal()
    hook = ProgressBarHook(console)
    hook.before_train(runner)
    for batch in range(2):
        hook.after_train_iter(runner, batch)
    (task,) = hook._progress.tasks
    assert (task.description, task.completed, task.total) == ('train', 7, 20)
    hook._progress.refresh()
    shown = console.file.getvalue()
    assert ' 7/20' in shown
    hook.after_train(runner)


def test_the_rate_is_iterations_per_second(runner: SimpleNamespace) -> None:
    hook = ProgressBarHook(terminal())
    hook.before_test_epoch(runner)
    clock = iter(range(100))
    hook._progress.get_time = lambda: next(clock) / 2  # two iterations a second
    task = hook._progress._tasks[hook._bars[0]]
    task._get_time = hook._progress.get_time
    task.start_time = 0
    for batch in range(4):
        hook.after_test_iter(runner, batch)
    from mmposenc.mm.hooks.progress_bar import _Rate

    assert _Rate().render(task).plain == '2.0 it/s'
    hook.close()


def test_validation_has_its_own_bar_within_training(runner: SimpleNamespace) -> None:
    hook = ProgressBarHook(terminal())
    hook.before_train(runner)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0)
    train, val = hook._progress.tasks
    assert (train.completed, val.completed, val.total) == (5, 1, 3)
    hook.after_val_epoch(runner)
    hook.after_train_iter(runner, 0)
    assert [task.completed for task in hook._progress.tasks] == [6]
    hook.after_train(runner)
    assert hook._progress is None


def test_the_log_goes_above_the_bar_and_gets_its_stream_back(runner: SimpleNamespace) -> None:
    console = terminal()
    hook = ProgressBarHook(console)
    stream, stdout = runner.logger.handlers[0].stream, sys.stdout
    hook.before_test_epoch(runner)
    runner.logger.warning('a line of the log')
    hook.close()
    hook.close()
    runner.logger.warning('after')
    assert 'a line of the log' in console.file.getvalue()
    assert stream.getvalue() == 'after\n'
    assert sys.stdout is stdout
