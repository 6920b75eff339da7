"""What a sweep has written is read back as it is, or refused."""

import json
from pathlib import Path

import pytest
from small_sweep import write_sweep

from mmposenc.figures.sweep_table import SweepPoint, read_sweep, sided_rankings


def test_rows_and_conditions(tmp_path: Path) -> None:
    points, conditions = read_sweep(write_sweep(tmp_path))
    # 3 rankings with 3 N and 2 windows, 2 draws with 3 N; 3 regions.
    assert len(points) == (3 * (3 + 2) + 2 * 3) * 3
    assert points[5].figures == pytest.approx({'mIoU': 70, 'aAcc': 80, 'IoU/<sky>': float('nan')}, nan_ok=True)
    assert points[5] == SweepPoint('pool', 'overall', None, 'top', 0, 2, 'overall', points[5].figures)
    last = points[-1]
    assert (last.ranking, last.draw, last.num_channels, last.figures['mIoU']) == ('random', 1, 4, 74)
    assert [(p.start, p.num_channels) for p in points if p.kind == 'window'][::3] == [(0, 2), (2, 2)] * 3
    assert conditions['num_images'] == 3


def test_the_first_ranking_of_a_side_is_taken() -> None:
    rankings = dict(
        roll=dict(region='overall'), flip=dict(region='overall'), l=dict(region='left'), c=dict(region='up')
    )
    assert sided_rankings(dict(rankings=rankings)) == dict(left='l', overall='roll')


def test_a_classifier_has_one_region(tmp_path: Path) -> None:
    points, _ = read_sweep(write_sweep(tmp_path, classifier=True))
    assert {point.region for point in points} == {'overall'}
    assert points[1].figures == {'top1': 70, 'cons8_zero_ref': 80}


@pytest.mark.parametrize(
    'name, message', [('sweep.csv', 'has not ended: run .* again'), ('sweep.json', 'give the fold')]
)
def test_a_missing_file(tmp_path: Path, name: str, message: str) -> None:
    (write_sweep(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf'{name} is not there.*{message}'):
        read_sweep(tmp_path)


def lines_of(folder: Path) -> list[str]:
    return (folder / 'sweep.csv').read_text().splitlines()


@pytest.mark.parametrize('size', [0, 100, -2, -40])
def test_a_table_cut_short_within_a_line(tmp_path: Path, size: int) -> None:
    file = write_sweep(tmp_path) / 'sweep.csv'
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r'empty or cut short\. Run tools/sweep\.py again'):
        read_sweep(tmp_path)


def test_a_line_with_too_few_cells(tmp_path: Path) -> None:
    lines = lines_of(write_sweep(tmp_path))
    (tmp_path / 'sweep.csv').write_text('\n'.join([*lines[:-1], lines[-1].rpartition(',')[0]]) + '\n')
    with pytest.raises(ValueError, match='line 64, has 9 of 10 cells: it is cut short'):
        read_sweep(tmp_path)


def test_a_table_cut_short_between_lines(tmp_path: Path) -> None:
    lines = lines_of(write_sweep(tmp_path))
    (tmp_path / 'sweep.csv').write_text('\n'.join(lines[:-1]) + '\n')
    with pytest.raises(ValueError, match='has 62 of 63 rows: it is cut short'):
        read_sweep(tmp_path)


@pytest.mark.parametrize(
    'before, after, message',
    [
        ('mIoU', 'miou', 'absent: mIoU, unknown: miou'),
        ('draw,kind', 'kind,draw', 'absent: none, unknown: none, but in another order'),
        ('IoU/<sky>', 'IoU/<sky>,extra', 'absent: none, unknown: extra'),
    ],
)
def test_unknown_columns(tmp_path: Path, before: str, after: str, message: str) -> None:
    file = write_sweep(tmp_path) / 'sweep.csv'
    file.write_text(file.read_text().replace(before, after, 1))
    with pytest.raises(ValueError, match=message):
        read_sweep(tmp_path)


def test_a_cell_that_is_no_number(tmp_path: Path) -> None:
    file = write_sweep(tmp_path) / 'sweep.csv'
    file.write_text(file.read_text().replace('70.000000', 'seventy', 1))
    with pytest.raises(ValueError, match=r"line 2: .*'seventy'"):
        read_sweep(tmp_path)


def test_a_table_of_another_sweep(tmp_path: Path) -> None:
    lines = lines_of(write_sweep(tmp_path))
    (tmp_path / 'sweep.csv').write_text('\n'.join([lines[0], lines[2], lines[1], *lines[3:]]) + '\n')
    with pytest.raises(ValueError, match=r'line 2, is not the row that sweep\.json says'):
        read_sweep(tmp_path)
    (tmp_path / 'sweep.csv').write_text('\n'.join([*lines, lines[-1]]) + '\n')
    with pytest.raises(ValueError, match='line 65, is not the row'):
        read_sweep(tmp_path)


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"format":', 'is not JSON'),
        ('[]', r'must be of the format mmposenc\.sweep/1, got list'),
        ('{"format": "mmposenc.ranking/1"}', r'got mmposenc\.ranking/1: give a folder'),
        ('{"format": "mmposenc.sweep/1", "variants": []}', 'lacks rankings, levels, num_channels, window, num_random'),
    ],
)
def test_conditions_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (write_sweep(tmp_path) / 'sweep.json').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_sweep(tmp_path)


def test_conditions_without_figures(tmp_path: Path) -> None:
    file = write_sweep(tmp_path) / 'sweep.json'
    conditions = json.loads(file.read_text())
    del conditions['classes']
    file.write_text(json.dumps(conditions))
    with pytest.raises(ValueError, match='lacks classes or figures'):
        read_sweep(tmp_path)
