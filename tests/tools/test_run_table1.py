"""tools/run_table1.py: order, skipping, resuming, refusing, and the table."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest

from mmposenc.cli import common as command_line

CELL = ['--task', 'location', '--padding', 'zeros', '--net', 'permutenet', '--grid', '3']
PAIR = ['--task', 'location', '--padding', 'zeros', '--net', 'permutenet', 'sumnet', '--grid', '3']


class Trainings:
    """Stands in for the processes: notes each command, and leaves what a run of the host leaves."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.accuracy = {0: 70.0, 1: 72.0}
        self.status = 0
        self.finishes = True
        self.together: Barrier | None = None
        self.signal: signal.Signals | None = None
        self.told: SimpleQueue[int] = SimpleQueue()

    def __call__(self, command: list[str], stdout: Any = None, stderr: Any = None) -> SimpleNamespace:
        self.commands.append(command)
        if self.together:
            self.together.wait()
            print('a line of the run', file=stdout)
        config = Path(command[2])
        folder = Path(command[command.index('--work-dir') + 1])
        options = command[command.index('--cfg-options') + 1 :]
        parser = command_line.make_parser('')
        cfg = command_line.load_config(parser.parse_args([str(config), '--cfg-options', *options]))
        (folder / 'now' / 'vis_data').mkdir(parents=True, exist_ok=True)
        cfg.dump(folder / config.name)
        if self.finishes:
            record = {'accuracy/top1': self.accuracy[cfg.randomness.seed], 'step': cfg.train_cfg.max_epochs}
            (folder / 'now' / 'vis_data' / 'scalars.json').write_text(json.dumps(record))
        return SimpleNamespace(wait=self.wait, send_signal=self.told.put)

    def wait(self) -> int:
        if self.signal:
            os.kill(os.getpid(), self.signal)  # To the tool; the run has begun.
            self.told.put(self.told.get(timeout=20))
        return self.status

    @property
    def names(self) -> list[str]:
        return [Path(command[2]).stem for command in self.commands]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    stand_in = Trainings()
    monkeypatch.setattr(subprocess, 'Popen', stand_in)
    return stand_in


@pytest.fixture
def table1(tool: Callable, trainings: Trainings) -> Callable[[list[str]], None]:
    return tool('run_table1')


def runs() -> list[dict]:
    return json.loads(Path('work_dirs/table1/table1.json').read_text())['runs']


def fails(main: Callable[[], None], capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as info:
        command_line.run(main)
    assert info.value.code == 1
    return capsys.readouterr().err


def test_runs_in_order_skips_what_is_finished_and_prints_the_table(table1, trainings, capsys):
    table1([*CELL, '--cfg-options', 'train_cfg.max_epochs=1'])
    assert '1 runs: 0 finished, 1 to do' in capsys.readouterr().out
    command = trainings.commands[0]
    assert Path(command[1]).name == 'train.py'
    folder = 'work_dirs/table1/permutenet_r18_grid3-location_cifar10/seed0'
    assert command[3:] == [
        '--resume',
        '--work-dir',
        folder,
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'randomness.seed=0',
    ]
    assert [(r['net'], r['seed'], r['epochs'], r['accuracy'], r['paper']) for r in runs()] == [
        ('permutenet', 0, 1, 70.0, 78.8)
    ]

    table1([*PAIR, '--seeds', '0', '1', '--cfg-options', 'train_cfg.max_epochs=1'])
    out = capsys.readouterr().out
    assert '4 runs: 1 finished, 3 to do' in out
    assert trainings.names[1:] == [
        'sumnet_r18_grid3-location_cifar10',
        'permutenet_r18_grid3-location_cifar10',
        'sumnet_r18_grid3-location_cifar10',
    ]
    assert 'location  zeros    permutenet  71.00 +- 1.41, n=2 (78.8)' in out
    assert 'location  zeros    sumnet      71.00 +- 1.41, n=2' in out
    assert len(runs()) == 4
    assert Path('work_dirs/table1/table1.png').read_bytes().startswith(b'\x89PNG')
    assert not list(Path('work_dirs/table1').glob('*.part'))

    # Another part of the table leaves the finished ones in the file.
    table1(['--task', 'category', '--padding', 'reflect', '--net', 'gapnet', '--grid', '7'])
    assert [r['task'] for r in runs()] == ['location'] * 4 + ['category']


def test_several_runs_at_once_write_to_their_own_files(table1, trainings, capfd):
    trainings.together = Barrier(2, timeout=20)  # Neither run ends before both have begun.
    table1([*PAIR, '--jobs', '2'])
    assert sorted(trainings.names) == ['permutenet_r18_grid3-location_cifar10', 'sumnet_r18_grid3-location_cifar10']
    for name in trainings.names:
        assert Path('work_dirs/table1', name, 'seed0', 'output.txt').read_text() == 'a line of the run\n'
    assert 'a line of the run' not in capfd.readouterr().out
    assert len(runs()) == 2


def test_after_a_failure_no_run_is_begun(table1, trainings, capsys):
    trainings.status, trainings.finishes, trainings.together = 3, False, Barrier(2, timeout=20)
    err = fails(lambda: table1([*PAIR, '--seeds', '0', '1', '--jobs', '2']), capsys)
    assert 'output.txt); the same command goes on from there' in err
    assert len(trainings.commands) == 2


@pytest.mark.parametrize('finishes, status', [(False, 143), (True, 0)])
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_end_reaches_the_run_and_none_is_begun(table1, trainings, capsys, number, finishes, status):
    before = signal.getsignal(number)
    trainings.signal, trainings.finishes, trainings.status = number, finishes, status
    assert 'the same command goes on from there' in fails(lambda: table1(PAIR), capsys)
    assert trainings.names == ['permutenet_r18_grid3-location_cifar10']
    assert trainings.told.get(timeout=0) == number
    assert signal.getsignal(number) is before


def test_a_dry_run_runs_and_writes_nothing(table1, trainings, capsys):
    table1([*PAIR, '--dry-run'])
    out = capsys.readouterr().out
    assert '== 2 of 2: sumnet_r18_grid3-location_cifar10, seed 0' in out
    assert 'location  zeros    permutenet  - (78.8)' in out
    assert not trainings.commands
    assert not Path('work_dirs').exists()


def test_everything_is_42_runs(table1, capsys):
    table1(['--dry-run'])
    assert '42 runs: 0 finished, 42 to do' in capsys.readouterr().out


def test_a_run_that_fails_ends_the_table_and_says_how_to_go_on(table1, trainings, capsys):
    trainings.status, trainings.finishes = 3, False
    err = fails(lambda: table1(PAIR), capsys)
    assert err.startswith('error: permutenet_r18_grid3-location_cifar10, seed 0, ended with status 3')
    assert 'the same command goes on' in err
    assert len(trainings.commands) == 1


def test_a_run_without_a_figure_of_its_last_epoch(table1, trainings, capsys):
    trainings.finishes = False
    assert 'no figure of the last epoch' in fails(lambda: table1(CELL), capsys)


def test_finished_runs_of_other_settings_are_not_mixed_in(table1, trainings, capsys):
    table1([*CELL, '--cfg-options', 'train_cfg.max_epochs=1'])
    err = fails(lambda: table1(CELL), capsys)
    assert 'holds a run with other settings (train_cfg differ' in err
    assert len(trainings.commands) == 1


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--net', 'resnet'], "invalid choice: 'resnet'"),
        (['--grid', '4'], 'invalid choice: 4'),
        (['--jobs', '0'], '--jobs must be at least 1, got 0'),
        (['--cfg-options', 'seed'], '--cfg-options takes KEY=VALUE, got seed'),
    ],
)
def test_wrong_arguments(table1, capsys, arguments, message):
    with pytest.raises(SystemExit):
        table1(arguments)
    assert message in capsys.readouterr().err


def test_a_part_that_does_not_exist(table1, capsys):
    err = fails(lambda: table1(['--net', 'sumnet', '--padding', 'reflect']), capsys)
    assert 'no experiment has' in err
