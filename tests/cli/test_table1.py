"""Table 1: its experiments, the paper's numbers, what runs have reached; order, skipping, resuming, refusing."""

import json
import os
import signal
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.config import Config

from mmposenc.cli import common, table1
from mmposenc.cli.table1 import Experiment, Result

CONFIGS = Path(__file__).parents[2] / 'configs'
FIRST = Experiment('location', 'zeros', 'gapnet', 3)


def test_36_cells_and_6_of_the_bounds_each_with_its_config():
    experiments = table1.choose()
    assert len(experiments) == 42
    assert sum(e.paper is not None for e in experiments) == 36
    assert all((CONFIGS / f'{e.config}.py').is_file() for e in experiments)
    assert [e.config for e in experiments[:4]] == [
        'gapnet_r18_grid3-location_cifar10',
        'gapnet_r18_grid5-location_cifar10',
        'gapnet_r18_grid7-location_cifar10',
        'permutenet_r18_grid3-location_cifar10',
    ]
    assert Experiment('category', 'reflect', 'permutenet', 7).config == 'permutenet_r18-reflect_grid7-category_cifar10'


@pytest.mark.parametrize(
    'cell, number',
    [
        (('location', 'zeros', 'permutenet', 5), 37.8),
        (('location', 'replicate', 'permutenet', 7), 23.6),
        (('category', 'reflect', 'gapnet', 3), 83.8),
        (('category', 'reflect', 'permutenet', 7), 65.7),
        (('category', 'zeros', 'gapnet', 7), 82.1),
        (('location', 'zeros', 'sumnet', 3), None),
    ],
)
def test_the_papers_numbers(cell: tuple, number: float | None):
    assert Experiment(*cell).paper == number


def test_a_choice_is_a_part_of_the_table():
    chosen = table1.choose(tasks=['location'], nets=['gapnet', 'sortnet'], grid_sizes=[7])
    assert [(e.padding, e.net) for e in chosen] == [
        ('zeros', 'gapnet'),
        ('zeros', 'sortnet'),
        ('reflect', 'gapnet'),
        ('replicate', 'gapnet'),
    ]
    with pytest.raises(
        ValueError, match=r'no experiment has task category, .*net sumnet .*location with zeros padding'
    ):
        table1.choose(tasks=['category'], nets=['sumnet'])


def run(root: Path, *lines: str, epochs: int = 20, log: str = '20250101_000000', **settings) -> Path:
    """A run folder as the host leaves it."""
    folder = table1.run_folder(root, FIRST, 0)
    (folder / log / 'vis_data').mkdir(parents=True)
    (folder / log / 'vis_data' / 'scalars.json').write_text('\n'.join(lines))
    config = Config({'train_cfg': {'max_epochs': epochs}, 'model': {'head': {'num_classes': 9}}, **settings})
    config.dump(folder / f'{FIRST.config}.py')
    return folder


def line(step: int, accuracy: float) -> str:
    return json.dumps({'accuracy/top1': accuracy, 'time': 0.1, 'step': step})


def test_the_figure_is_the_last_epochs_not_the_best(tmp_path: Path):
    run(tmp_path, line(19, 99.9), json.dumps({'loss': 0.1, 'step': 20}), line(20, 98.0))
    assert table1.read_result(tmp_path, FIRST, 0) == Result(FIRST, 0, 20, 98.0)


def test_a_run_that_was_killed_and_resumed(tmp_path: Path):
    folder = run(tmp_path, line(9, 50.0), '{"accuracy/top1": 77.0, "st')
    assert table1.read_result(tmp_path, FIRST, 0) is None
    (folder / '20250102_000000' / 'vis_data').mkdir(parents=True)
    (folder / '20250102_000000' / 'vis_data' / 'scalars.json').write_text(line(20, 97.5))
    assert table1.read_result(tmp_path, FIRST, 0).accuracy == 97.5
    assert table1.read_result(tmp_path, FIRST, 1) is None


def test_a_run_of_other_settings_is_not_taken_for_this_one(tmp_path: Path):
    folder = run(tmp_path, line(20, 98.0), work_dir='elsewhere', resume=True)
    same = Config({'train_cfg': {'max_epochs': 20}, 'model': {'head': {'num_classes': 9}}})
    table1.check_settings(tmp_path, FIRST, 0, same)
    table1.check_settings(tmp_path, FIRST, 1, Config({'train_cfg': {'max_epochs': 3}}))
    with pytest.raises(ValueError, match=r'seed0 holds a run with other settings \(train_cfg differ: .*--work-dir'):
        table1.check_settings(tmp_path, FIRST, 0, Config({**same, 'train_cfg': {'max_epochs': 3}}))
    # Which class runs the epochs is no setting.
    for loop in ({'by_epoch': True}, {'type': 'mmposenc.ResumableEpochLoop'}):
        table1.check_settings(tmp_path, FIRST, 0, Config({**same, 'train_cfg': {'max_epochs': 20, **loop}}))
    assert folder.is_dir()


def test_the_table_stands_beside_the_papers():
    experiments = table1.choose(tasks=['location'], paddings=['zeros'], nets=['permutenet', 'sumnet'])
    results = [
        Result(experiments[0], 0, 20, 70.0),
        Result(experiments[0], 1, 20, 72.0),
        Result(experiments[4], 0, 20, 33.333),
    ]
    assert table1.format_table(experiments, results).splitlines() == [
        'task      padding  net         3x3 (paper)                5x5 (paper)  7x7 (paper)',
        'location  zeros    permutenet  71.00 +- 1.41, n=2 (78.8)  - (37.8)     - (21.4)',
        'location  zeros    sumnet      -                          33.33        -',
    ]


def test_a_result_is_one_flat_record():
    assert Result(FIRST, 2, 20, 99.5).to_dict() == {
        'task': 'location',
        'padding': 'zeros',
        'net': 'gapnet',
        'grid_size': 3,
        'seed': 2,
        'epochs': 20,
        'accuracy': 99.5,
        'paper': 100.0,
    }


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
        config = Path(command[4].removeprefix('mmposenc::'))
        folder = Path(command[command.index('--work-dir') + 1])
        options = command[command.index('--cfg-options') + 1 :]
        load = dict(launcher='none', work_dir='', trust_checkpoint=False)
        cfg = common.load_config(Namespace(config=command[4], cfg_options=options, **load))
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
        return [Path(command[4].removeprefix('mmposenc::')).stem for command in self.commands]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    stand_in = Trainings()
    monkeypatch.setattr(subprocess, 'Popen', stand_in)
    return stand_in


@pytest.fixture
def run_table1(tool: Callable, trainings: Trainings) -> Callable[[list[str]], None]:
    return tool('table1')


def runs() -> list[dict]:
    return json.loads(Path('work_dirs/table1/table1.json').read_text())['runs']


def fails(main: Callable[[], None]) -> str:
    with pytest.raises(ValueError, match=r'.') as info:
        main()
    return str(info.value)


def test_runs_in_order_skips_what_is_finished_and_prints_the_table(run_table1, trainings, capsys):
    run_table1([*CELL, '--cfg-options', 'train_cfg.max_epochs=1'])
    assert '1 runs: 0 finished, 1 to do' in capsys.readouterr().out
    command = trainings.commands[0]
    assert command[1:4] == ['-m', 'mmposenc', 'train']
    folder = 'work_dirs/table1/permutenet_r18_grid3-location_cifar10/seed0'
    assert command[5:] == [
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

    run_table1([*PAIR, '--seeds', '0', '1', '--cfg-options', 'train_cfg.max_epochs=1'])
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
    run_table1(['--task', 'category', '--padding', 'reflect', '--net', 'gapnet', '--grid', '7'])
    assert [r['task'] for r in runs()] == ['location'] * 4 + ['category']


def test_several_runs_at_once_write_to_their_own_files(run_table1, trainings, capfd):
    trainings.together = Barrier(2, timeout=20)  # Neither run ends before both have begun.
    run_table1([*PAIR, '--jobs', '2'])
    assert sorted(trainings.names) == ['permutenet_r18_grid3-location_cifar10', 'sumnet_r18_grid3-location_cifar10']
    for name in trainings.names:
        assert Path('work_dirs/table1', name, 'seed0', 'output.txt').read_text() == 'a line of the run\n'
    assert 'a line of the run' not in capfd.readouterr().out
    assert len(runs()) == 2


def test_after_a_failure_no_run_is_begun(run_table1, trainings, capsys):
    trainings.status, trainings.finishes, trainings.together = 3, False, Barrier(2, timeout=20)
    err = fails(lambda: run_table1([*PAIR, '--seeds', '0', '1', '--jobs', '2']))
    assert 'output.txt); the same command goes on from there' in err
    assert len(trainings.commands) == 2


@pytest.mark.parametrize('finishes, status', [(False, 143), (True, 0)])
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_end_reaches_the_run_and_none_is_begun(run_table1, trainings, capsys, number, finishes, status):
    before = signal.getsignal(number)
    trainings.signal, trainings.finishes, trainings.status = number, finishes, status
    assert 'the same command goes on from there' in fails(lambda: run_table1(PAIR))
    assert trainings.names == ['permutenet_r18_grid3-location_cifar10']
    assert trainings.told.get(timeout=0) == number
    assert signal.getsignal(number) is before


def test_a_dry_run_runs_and_writes_nothing(run_table1, trainings, capsys):
    run_table1([*PAIR, '--dry-run'])
    out = capsys.readouterr().out
    assert '== 2 of 2: sumnet_r18_grid3-location_cifar10, seed 0' in out
    assert 'location  zeros    permutenet  - (78.8)' in out
    assert not trainings.commands
    assert not Path('work_dirs').exists()


def test_everything_is_42_runs(run_table1, capsys):
    run_table1(['--dry-run'])
    assert '42 runs: 0 finished, 42 to do' in capsys.readouterr().out


def test_a_run_that_fails_ends_the_table_and_says_how_to_go_on(run_table1, trainings, capsys):
    trainings.status, trainings.finishes = 3, False
    err = fails(lambda: run_table1(PAIR))
    assert err.startswith('permutenet_r18_grid3-location_cifar10, seed 0, ended with status 3')
    assert 'the same command goes on' in err
    assert len(trainings.commands) == 1


def test_a_run_without_a_figure_of_its_last_epoch(run_table1, trainings, capsys):
    trainings.finishes = False
    assert 'no figure of the last epoch' in fails(lambda: run_table1(CELL))


def test_finished_runs_of_other_settings_are_not_mixed_in(run_table1, trainings, capsys):
    run_table1([*CELL, '--cfg-options', 'train_cfg.max_epochs=1'])
    err = fails(lambda: run_table1(CELL))
    assert 'holds a run with other settings (train_cfg differ' in err
    assert len(trainings.commands) == 1


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--net', 'resnet'], "invalid choice: 'resnet'"),
        (['--grid', '4'], 'invalid choice: 4'),
        (['--cfg-options', 'seed'], 'takes KEY=VALUE, got seed'),
    ],
)
def test_wrong_arguments(run_table1, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run_table1(arguments)
    assert message in capsys.readouterr().err


def test_a_part_that_does_not_exist(run_table1, capsys):
    assert 'no experiment has' in fails(lambda: run_table1(['--net', 'sumnet', '--padding', 'reflect']))
    assert '--jobs must be at least 1, got 0' in fails(lambda: run_table1(['--jobs', '0']))
