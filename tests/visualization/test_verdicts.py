"""What the intervals of a sweep decide, as tables by hand."""

from pathlib import Path

import pytest
from small_sweep import write_attack, write_control, write_sweep

from mmposenc.figures.report import Table
from mmposenc.figures.verdicts import describe_attack, describe_control


def test_the_verdict_of_the_attack(tmp_path: Path) -> None:
    assert describe_attack(write_sweep(tmp_path)) == []
    _, table = describe_attack(write_attack(tmp_path))
    assert isinstance(table, Table)
    assert 'the order holds at 1 of 2 values of N, at 1 of them both intervals are above 0' in table.caption
    assert table.rows == [
        ['2', '6.00', '4.00', '2.00', '2.00 [0.50, 3.50]', '2.00 [1.00, 3.00]', 'yes', '99.0'],
        ['4', '6.00', '7.00', '2.00', '-1.00 [-2.00, 0.50]', '5.00 [4.00, 6.00]', 'no', '3.2'],
    ]


@pytest.mark.parametrize('before, after', [('harm_own', 'harm'), (',true,99.0', '')])
def test_an_attack_table_that_is_none(tmp_path: Path, before: str, after: str) -> None:
    file = write_attack(tmp_path) / 'region_attack.csv'
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(ValueError, match=r'region_attack\.csv must hold rows of layer, region, .* writes it anew'):
        describe_attack(tmp_path)


def test_the_verdict_on_chance(tmp_path: Path) -> None:
    assert describe_control(write_sweep(tmp_path)) == []
    _, table, verdicts = describe_control(write_control(tmp_path))
    assert isinstance(table, Table)
    assert isinstance(verdicts, Table)
    assert table.rows == [
        ['2', '1.00', '4.00 [3.50, 4.50]', '1.00 [0.50, 1.50]'],
        ['4', '1.00', '4.00 [3.50, 4.50]', '-1.00 [-1.50, -0.50]'],
    ]
    assert verdicts.rows == [['overall', 2, 0, 2], ['right', 1, 1, 2]]
    _, table, _ = describe_control(tmp_path, 'left')
    assert isinstance(table, Table)
    assert table.rows[0] == ['2', '1.00', '1.50 [1.00, 2.00]', '0.00 [-0.50, 0.50]']
    assert describe_control(tmp_path, 'center') == []


@pytest.mark.parametrize(
    'before, after', [('harm_random', 'chance'), (',4.0,3.5', ''), ('pool,overall,right,4', 'x,overall,y,4')]
)
def test_a_control_table_that_is_none(tmp_path: Path, before: str, after: str) -> None:
    file = write_control(tmp_path) / 'random_control.csv'
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(ValueError, match=r'random_control\.csv must hold .* run tools/sweep.py again'):
        describe_control(tmp_path)
