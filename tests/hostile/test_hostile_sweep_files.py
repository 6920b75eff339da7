"""A sweep goes on from damaged files with the right counts or not at all, and its tables are read whole or refused."""

import csv
import io
import json
import shutil
import sys
import zipfile
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from hostile_cases import check_sentence, hostile, load_tool, nothing_written, outcome
from hostile_values import JSON, TEXTS, changed_json, damaged, deep
from hypothesis import example
from hypothesis import strategies as st

from mmposenc.figures.sweep_report import describe_sweep, sweep_command
from mmposenc.figures.sweep_table import read_sweep, sided_rankings
from mmposenc.figures.verdicts import describe_attack, describe_control
from mmposenc.mm.sweep.store import SweepStore

sys.path.append(str(Path(__file__).parents[1] / 'visualization'))
from small_sweep import write_attack, write_control, write_sweep

LINES = TEXTS.filter(str.isprintable)
CONDITIONS = dict(model='net', num_images=6, num_channels=[0, 100])
COUNTS = np.arange(24, dtype=np.int32).reshape(6, 2, 2)


@cache
def unit(*positions: int) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, positions=np.array(positions), counts=COUNTS[list(positions)])
    return buffer.getvalue()


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / 'units').mkdir(parents=True)
    (folder / 'sweep.json').write_text(json.dumps({'format': 'mmposenc.sweep/1', **CONDITIONS}))
    (folder / 'units' / '00000004-2.npz').write_bytes(unit(4, 5))
    return folder


def go_on(folder: Path) -> None:
    """Count what is missing, as tools/sweep.py does, and put all together: it is COUNTS, or a refusal that helps."""
    store = SweepStore(folder, CONDITIONS)
    finished = store.open()
    for position in sorted(set(range(6)) - finished):
        store.add([position], COUNTS[[position]])
    store.flush()
    merged, message = outcome(lambda: store.merge(6), folder)
    if message is None:
        assert np.array_equal(merged, COUNTS)
        assert merged.dtype == COUNTS.dtype
    else:
        assert 'is not of this sweep: take it away' in message
        assert not (folder / 'sweep_counts.npz').exists()


@hostile(150, content=damaged(unit(0, 1, 2)), merged=st.booleans())
def test_a_damaged_unit_is_counted_again(tmp_path: Path, content: bytes, merged: bool) -> None:
    folder = fresh(tmp_path / 'sweep')
    (folder / ('sweep_counts.npz' if merged else 'units/00000000-3.npz')).write_bytes(content)
    go_on(folder)
    assert np.array_equal(SweepStore(folder, CONDITIONS).merge(6), COUNTS)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def zipped(method: int, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', method) as archive:
        for name, content in members.items():
            archive.writestr(f'{name}.npy', content)
    return buffer.getvalue()


HEADER = "{'descr': '<i8', 'fortran_order': False, 'shape': (%d,), }"


def npy(shape: int) -> bytes:
    text = (HEADER % shape).encode().ljust(117) + b'\n'
    return b'\x93NUMPY\x01\x00' + len(text).to_bytes(2, 'little') + text + b'\0' * 48


OTHER_UNITS = [
    npz(positions=np.array([0, 1, 6]), counts=COUNTS[:3]),
    npz(positions=np.array([0, 1, -1]), counts=COUNTS[:3]),
    npz(positions=np.array([0, 1, 2]), counts=COUNTS[:3, :1]),
    npz(positions=np.array([0, 1, 2]), counts=COUNTS[:3].astype(np.int64)),
    npz(positions=np.array([0, 1, 2]), counts=COUNTS[:3].astype(float)),
    npz(positions=np.array([0, 1]), counts=COUNTS[:3]),
    npz(positions=np.array([[0, 1, 2]]), counts=COUNTS[:1]),
    npz(positions=np.array([0.0, 1.0, 2.0]), counts=COUNTS[:3]),
    npz(positions=np.array(0), counts=np.array(1)),
    npz(positions=np.array([], int), counts=COUNTS[:0]),
    npz(positions=np.array(['0'])),
    npz(positions=np.array([None, 1], object), counts=COUNTS[:2]),
    npy(6),
    b'',
    zipped(zipfile.ZIP_STORED, positions=npy(10**12), counts=npy(10**12)),
    zipped(zipfile.ZIP_DEFLATED, positions=npy(2**62), counts=npy(2**62)),
    zipped(zipfile.ZIP_LZMA, positions=b'\0' * 10**6, counts=b'\x93NUMPY' * 10**5),
    zipped(zipfile.ZIP_DEFLATED, positions=b'\0' * 2 * 10**8),
]


@hostile(40, content=st.sampled_from(OTHER_UNITS) | st.binary(max_size=300))
@example(content=OTHER_UNITS[0])
@example(content=OTHER_UNITS[2])
def test_counts_of_something_else_do_not_get_in(tmp_path: Path, content: bytes) -> None:
    folder = fresh(tmp_path / 'sweep')
    (folder / 'units' / '00000000-3.npz').write_bytes(content)
    go_on(folder)


@hostile(
    150,
    content=changed_json({'format': 'mmposenc.sweep/1', **CONDITIONS})
    | damaged(json.dumps({'format': 'mmposenc.sweep/1', **CONDITIONS}).encode())
    | JSON.map(json.dumps).map(str.encode),
)
@example(content=deep(100_000).encode())
def test_a_sweep_never_goes_on_under_other_conditions(tmp_path: Path, content: bytes) -> None:
    folder = fresh(tmp_path / 'sweep')
    (folder / 'sweep.json').write_bytes(content)
    with nothing_written(folder):
        _, message = outcome(lambda: SweepStore(folder, CONDITIONS), folder)
    if message is None:
        assert json.loads(content) == {'format': 'mmposenc.sweep/1', **CONDITIONS}


TABLES = ('sweep.csv', 'region_attack.csv', 'random_control.csv', 'sweep.json')


@cache
def small_sweep(classifier: bool) -> Path:
    folder = Path(mkdtemp())
    write_sweep(folder, classifier=classifier)
    write_control(write_attack(folder))
    return folder


def check_report(folder: Path) -> None:
    """Everything that tools/plot_sweep.py reads before it draws; an accepted row is the row of the file."""
    with nothing_written(folder):
        found, message = outcome(lambda: read_sweep(folder), folder)
    if message is None:
        points, conditions = found
        sides = sided_rankings(conditions)
        assert [conditions['rankings'][name]['region'] for name in sides.values()] == list(sides)
        assert all(table.rows for table in describe_sweep(conditions)[:1])
        assert sweep_command(conditions).startswith('python tools/sweep.py CONFIG CHECKPOINT --rankings')
        content = (folder / 'sweep.csv').read_bytes().decode()
        _, *rows = csv.reader(io.StringIO(content, newline=''))
        assert len(points) == len(rows) == len(conditions['variants']) * len(conditions.get('regions', ['overall']))
        for point, row in zip(points, rows, strict=True):
            draw = '' if point.draw is None else point.draw
            assert row[:2] == [point.layer, point.ranking]
            assert (row[2] or draw) == draw or int(row[2]) == draw
            assert (row[3], int(row[4]), int(row[5]), row[6]) == (
                point.kind, point.start, point.num_channels, point.region,
            )  # fmt: skip
            assert [repr(float(cell)) for cell in row[7:]] == [repr(value) for value in point.figures.values()]
    for describe, name in ((describe_attack, 'region_attack.csv'), (describe_control, 'random_control.csv')):
        _, message = outcome(lambda describe=describe: describe(folder))
        assert message is None or str(folder / name) in message


def copy_with(classifier: bool, folder: Path, name: str, content: bytes) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(small_sweep(classifier), folder)
    (folder / name).write_bytes(content)
    return folder


@hostile(300, name=st.sampled_from(TABLES), data=st.data())
@example(name='sweep.csv', data=None)
def test_damaged_tables(tmp_path: Path, name: str, data: st.DataObject | None) -> None:
    whole = (small_sweep(False) / name).read_bytes()
    content = data.draw(damaged(whole)) if data else whole.replace(b'\noverall', b'\n' + b'"' + b'x' * 200_000, 1)
    check_report(copy_with(False, tmp_path / 'sweep', name, content))


@hostile(300, classifier=st.booleans(), data=st.data())
def test_changed_conditions(tmp_path: Path, classifier: bool, data: st.DataObject) -> None:
    whole = json.loads((small_sweep(classifier) / 'sweep.json').read_text())
    check_report(copy_with(classifier, tmp_path / 'sweep', 'sweep.json', data.draw(changed_json(whole))))


@hostile(100, cells=st.lists(TEXTS, min_size=1, max_size=3), place=st.integers(0, 9), line=st.integers(0, 5))
def test_changed_cells(tmp_path: Path, cells: list[str], place: int, line: int) -> None:
    for name in TABLES[:3]:
        rows = list(csv.reader(io.StringIO((small_sweep(False) / name).read_text())))
        rows[min(line, len(rows) - 1)][place : place + len(cells)] = cells
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerows(rows)
        content = text.getvalue().encode(errors='surrogatepass')
        check_report(copy_with(False, tmp_path / 'sweep', name, content))


@hostile(80, classes=st.lists(LINES, min_size=1, max_size=3, unique=True), region=LINES)
def test_a_table_with_any_names_reads_back(tmp_path: Path, classes: list[str], region: str) -> None:
    """Names of classes and regions come from configs, which are held to one line: what is written is what is read."""
    folder = tmp_path / 'sweep'
    shutil.rmtree(folder, ignore_errors=True)
    conditions = dict(
        variants=[['a', 'one', None, 'top', 0, 2, 1]],
        rankings=dict(one=dict(region='overall')),
        levels=dict(a=1),
        num_channels=[2],
        window=0,
        num_random=0,
        classes=classes,
        regions={region: [0, 0, 1, 1]},
    )
    store = SweepStore(folder, conditions)
    store.open()
    head = ['layer', 'ranking', 'draw', 'kind', 'start', 'num_channels', 'region', 'mIoU', 'aAcc']
    head += [f'IoU/{name}' for name in classes]
    figures = [float(number) for number in range(len(classes) + 2)]
    store.write_table('sweep.csv', head, [['a', 'one', '', 'top', 0, 2, region, *figures]])
    ((point,), _) = read_sweep(folder)
    assert point.region == region
    assert point.figures == dict(zip(['mIoU', 'aAcc', *(f'IoU/{name}' for name in classes)], figures, strict=True))


def test_a_report_of_damaged_files_is_not_begun(tmp_path: Path) -> None:
    tool = load_tool('plot_sweep')
    for name in TABLES:
        folder = copy_with(False, tmp_path / 'sweep', name, (small_sweep(False) / name).read_bytes()[:-9])
        with nothing_written(folder):
            _, message = outcome(lambda folder=folder: tool.main([str(folder)]), folder / name)
        check_sentence(message)
