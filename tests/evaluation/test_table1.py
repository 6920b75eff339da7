"""Table 1's experiments, the paper's numbers, and reading what runs have reached."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from mmposenc.cli import table1
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
