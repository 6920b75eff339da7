"""What the command line adds to a run: the bar, strict loading, and figures written once."""

import io
import json
import logging
import sys
from types import SimpleNamespace

import pytest
from mmengine.dist import utils
from mmengine.model import BaseTTAModel
from rich.console import Console
from torch import nn

from mmposenc.mm.hooks.runtime import MainProcessLoggerHook, ProgressBarHook, StrictCheckpointHook


@pytest.mark.parametrize('rank, written', [(0, ['test.json']), (1, [])])
def test_the_first_process_alone_writes_the_figures_of_a_test(monkeypatch, tmp_path, rank, written) -> None:
    figures = {'accuracy/top1': 57.1, 'time': 0.5}
    log = SimpleNamespace(get_log_after_epoch=lambda *_, **__: (figures, 'accuracy/top1: 57.1'))
    where = dict(logger=logging.Logger('run'), log_dir=str(tmp_path))
    runner = SimpleNamespace(log_processor=log, test_dataloader=range(3), **where)
    hook = MainProcessLoggerHook()
    hook.json_log_path = 'test.json'
    monkeypatch.setattr(utils, 'get_rank', lambda group=None: rank)
    hook.after_test_epoch(runner, figures)
    assert [path.name for path in tmp_path.iterdir()] == written
    assert all(json.loads(path.read_text()) == figures for path in tmp_path.iterdir())


class Augmented(BaseTTAModel):
    def merge_preds(self, data_samples_list: list) -> list:
        return data_samples_list


def test_the_model_below_its_wrappers_is_compared() -> None:
    inner = nn.Linear(2, 2)
    inner.test_step = inner.forward
    for model in (inner, nn.DataParallel(inner), Augmented(inner)):
        runner = SimpleNamespace(model=model, model_name='Net')
        StrictCheckpointHook().after_load_checkpoint(runner, dict(state_dict=nn.Linear(2, 2).state_dict()))
        StrictCheckpointHook().after_load_checkpoint(runner, nn.Linear(2, 2).state_dict())
        with pytest.raises(ValueError, match='does not fit Net of this config: 2 of another shape'):
            StrictCheckpointHook().after_load_checkpoint(runner, dict(state_dict=nn.Linear(3, 3).state_dict()))


@pytest.fixture
def runner() -> SimpleNamespace:
    logger = logging.Logger('run')
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    return SimpleNamespace(logger=logger, max_iters=20, iter=5, val_dataloader=range(3), test_dataloader=range(4))


def terminal(is_one: bool = True) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_one, width=100)


def test_a_resumed_run_counts_on_and_validation_has_its_own_bar(runner: SimpleNamespace) -> None:
    console = terminal()
    hook, elsewhere = ProgressBarHook(console), ProgressBarHook(terminal(False))
    for each in (hook, elsewhere):
        each.before_train(runner)
        each.after_train_iter(runner, 0)
        each.before_val_epoch(runner)
        each.after_val_iter(runner, 0)
    train, val = hook._progress.tasks
    assert (train.description, train.completed, train.total) == ('train', 6, 20)
    assert (val.description, val.completed, val.total) == ('val', 1, 3)
    hook._progress.refresh()
    assert ' 6/20' in console.file.getvalue()
    for each in (hook, elsewhere):
        each.after_val_epoch(runner)
        each.after_train_iter(runner, 1)
    assert [task.completed for task in hook._progress.tasks] == [7]
    for each in (hook, elsewhere):
        each.after_train(runner)
        assert each._progress is None
    assert elsewhere._console.file.getvalue() == '', 'nothing is drawn where there is no terminal'


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
