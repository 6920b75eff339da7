"""Tables and commands of a sweep, by hand."""

import shlex
from pathlib import Path

from small_sweep import write_sweep

from mmposenc.figures.sweep_curve import sweep_curves
from mmposenc.figures.sweep_report import describe_curves, describe_sweep, sweep_command
from mmposenc.figures.sweep_table import read_sweep


def test_the_best_channels_in_numbers_beside_random_ones(tmp_path: Path) -> None:
    points, _ = read_sweep(write_sweep(tmp_path))
    note, table, beside = describe_curves(sweep_curves(points, 'mIoU'))
    assert 'not how much the choice of images does' in note
    assert table.head == ['N', 'overall', 'left', 'right', 'random']
    assert table.rows == [
        [0, '80.00', '80.00', '80.00', '80.00 [80.00, 80.00]'],
        [2, '70.00', '74.00', '78.00', '78.00 [77.00, 79.00]'],
        [4, '60.00', '68.00', '76.00', '76.00 [74.00, 78.00]'],
    ]
    assert 'mIoU of overall in %' in table.caption
    assert [list(row) for row in beside.rows] == [['overall', 2, 0, 2], ['left', 2, 0, 2], ['right', 0, 0, 2]]


def test_outside_of_the_draws_means_outside_of_their_range(tmp_path: Path) -> None:
    points, _ = read_sweep(write_sweep(tmp_path, window=0))
    first, *_, random = sweep_curves(points, 'mIoU')
    # The draws reach from 77 to 79 at N = 2 and from 74 to 78 at N = 4.
    for values, wanted in (((80, 77.5, 73.9), [1, 0, 2]), ((80, 78.5, 78.1), [0, 1, 2]), ((80, 77, 78), [0, 0, 2])):
        *_, beside = describe_curves([first._replace(values=values), random])
        assert [list(row) for row in beside.rows] == [['overall', *wanted]]


def test_many_values_of_n_are_thinned_to_nine_with_both_ends(tmp_path: Path) -> None:
    points, _ = read_sweep(write_sweep(tmp_path, numbers=range(0, 41, 2), window=0))
    table = describe_curves(sweep_curves(points, 'mIoU'))[1]
    assert [row[0] for row in table.rows] == [0, 4, 10, 16, 20, 24, 30, 36, 40]


def test_conditions(tmp_path: Path) -> None:
    _, conditions = read_sweep(write_sweep(tmp_path))
    facts, rankings = describe_sweep(conditions)
    assert ['network', 'net <1>'] in facts.rows
    assert ['layers', 'pool (level 2)'] in facts.rows
    assert ['software', 'mmposenc 0.1'] in facts.rows
    assert rankings.rows[1] == ['left', 'left', 'flip_image', 'abs', None, 3]


def test_the_command_as_far_as_it_is_known(tmp_path: Path) -> None:
    _, conditions = read_sweep(write_sweep(tmp_path, layers=('pool', 'backbone[-1]')))
    assert sweep_command(conditions) == (
        'python tools/sweep.py CONFIG CHECKPOINT --rankings overall.json left.json right.json --num-channels 0:5:2 '
        "--windows 2 --random 2 --layer pool 'backbone[-1]' --level 2"
    )
    _, conditions = read_sweep(write_sweep(tmp_path, numbers=(0, 1, 4), window=0, num_random=0, classifier=True))
    conditions['levels'] = dict(pool=1, neck=2)
    words = shlex.split(sweep_command(conditions))
    assert words[words.index('--num-channels') + 1] == '0,1,4'
    assert words[words.index('--layer') + 1 :] == ['pool', 'neck', '--max-shift', '8']
    assert '--random' not in words
    assert sweep_command({**conditions, 'figures': ['top1']}).endswith('--max-shift 0')
