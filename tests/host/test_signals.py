"""A signal saves and ends a training, and nothing of the handler stays behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_hooks import SignalAt
from torch.utils.data import DataLoader
from toy_training import toy_runner, train

from mmposenc.host import resume
from mmposenc.host.checkpoints import last_whole_checkpoint, read_checkpoint
from mmposenc.host.resume import StopSignalHook, shield_workers

EPOCHS = dict(type='mmposenc.ResumableEpochLoop', max_epochs=2)


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == handlers


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_it_saves_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture, number: signal.Signals, status: int) -> None:
    # Twice, as when a batch system signals a process and its parent passes it on.
    runner, losses = toy_runner(tmp_path / 'a', EPOCHS, *[SignalAt(number.name, 7)] * 2)
    with pytest.raises(SystemExit) as info:
        runner.train()
    assert info.value.code == status
    assert losses.seen[-1][0] == 7
    path, reasons = last_whole_checkpoint(tmp_path / 'a')
    assert (path, reasons) == (tmp_path / 'a' / 'stopped.pth', [])
    checkpoint = read_checkpoint(path)
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (1, 7)
    assert checkpoint['optimizer']['state']
    said = capsys.readouterr()
    (line,) = [line for line in (said.out + said.err).splitlines() if 'stopped by' in line]
    assert f'stopped by {number.name} after iteration 7 of 10, saved in {path}: the same command with --resume' in line


def test_gradients_that_wait_for_their_update_are_not_lost(tmp_path: Path) -> None:
    wrapper = dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=3)
    with pytest.raises(SystemExit):
        train(tmp_path / 'a', EPOCHS, SignalAt('SIGTERM', 4), optim_wrapper=wrapper)
    assert read_checkpoint(tmp_path / 'a' / 'stopped.pth')['meta']['iter'] == 6


def test_the_checkpoint_of_a_stop_goes_when_a_newer_one_is_there(tmp_path: Path) -> None:
    stopped = tmp_path / 'a' / 'stopped.pth'
    rare = dict(checkpoint=dict(type='CheckpointHook', interval=9, save_last=False))
    with pytest.raises(SystemExit):
        train(tmp_path / 'a', EPOCHS, SignalAt('SIGTERM', 7), default_hooks=rare)
    train(tmp_path / 'a', EPOCHS, load_from=str(stopped), resume=True, default_hooks=rare)
    assert stopped.exists(), 'there is no other'
    # With mmengine's own loop too the signals are as they were at the end.
    train(tmp_path / 'a', dict(by_epoch=True, max_epochs=2), load_from=str(stopped), resume=True)
    assert not stopped.exists()


@pytest.mark.parametrize('signals', ['SIGTERM', ['SIGNONE']])
def test_no_such_signal(signals: Any) -> None:
    with pytest.raises(ValueError, match=r'signals must be a list of names such as SIGTERM, got .*SIG'):
        StopSignalHook(signals)


def _tell(worker: int) -> None:
    os.environ['TOLD'] = str(worker)


class Ask:
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[int, str]:
        if index == 0:
            os.kill(os.getpid(), signal.SIGTERM)  # Its own process is not its parent.
            os.kill(os.getpid(), signal.SIGUSR1)
        return os.getpid(), os.environ.get('TOLD', '')


def test_the_workers_of_both_loaders_are_shielded(tmp_path: Path) -> None:
    runner, _ = toy_runner(tmp_path / 'a', dict(EPOCHS, max_epochs=1))
    for config in (runner._train_dataloader, runner._val_dataloader):
        config['num_workers'] = 1
    runner.train()
    for loader in (runner.train_dataloader, runner.val_dataloader):
        assert loader.worker_init_fn.func is resume._begin_worker


def test_a_worker_lives_through_the_signals_and_ends_with_its_parents_word() -> None:
    loader = DataLoader(Ask(), num_workers=1, worker_init_fn=_tell, collate_fn=lambda batch: batch[0])
    shield_workers(loader)
    (first, told), (second, _) = list(loader)
    assert first == second != os.getpid()
    assert told == '0'
    iterator = iter(loader)
    next(iterator)
    worker = iterator._workers[0]
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0
