import json
from pathlib import Path

import numpy as np
import pytest

from mmposenc.mm.sweep.store import SweepStore

CONDITIONS = dict(model='net', num_channels=[0, 100])


def counts_of(positions: list[int]) -> np.ndarray:
    return np.array([[position, 10 * position] for position in positions], dtype=np.int32)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def fill(folder: Path, *units: list[int]) -> SweepStore:
    store = SweepStore(folder, CONDITIONS)
    store.open()
    for unit in units:
        store.add(unit, counts_of(unit))
        store.flush()
    return store


def test_counts_are_put_together_in_the_order_of_the_images(tmp_path: Path) -> None:
    store = fill(tmp_path / 'sweep', [4, 5], [0, 1], [2, 3])
    assert store.merge(6).tolist() == counts_of(list(range(6))).tolist()
    store.write_table('sweep.csv', ['a', 'b'], [[1, 'x, y'], ['', 2]])
    store.close()
    assert sorted(contents(store.folder)) == ['sweep.csv', 'sweep.json', 'sweep_counts.npz']
    assert not store.units.exists()
    assert (store.folder / 'sweep.csv').read_bytes() == b'a,b\n1,"x, y"\n,2\n'
    assert json.loads((store.folder / 'sweep.json').read_text()) == {'format': 'mmposenc.sweep/1', **CONDITIONS}
    with np.load(store.folder / 'sweep_counts.npz') as arrays:
        assert arrays['counts'].dtype == np.int32


def test_the_files_do_not_depend_on_the_units(tmp_path: Path) -> None:
    stores = [fill(tmp_path / 'a', [0, 1, 2, 3]), fill(tmp_path / 'b', [3], [1, 2], [0])]
    for store in stores:
        store.merge(4)
        store.close()
    assert contents(stores[0].folder) == contents(stores[1].folder)


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    fill(tmp_path, [0, 1], [4])
    left = tmp_path / 'units' / '.00000009-1.npz.77.tmp'
    left.write_bytes(b'half a file')
    store = SweepStore(tmp_path, CONDITIONS)
    assert store.open() == {0, 1, 4}
    assert not left.exists()
    with pytest.raises(ValueError, match='2 of 5 images are not counted yet: run the same command again'):
        store.merge(5)
    store.add([2, 3], counts_of([2, 3]))
    store.flush()
    merged = store.merge(5)
    assert merged.tolist() == counts_of(list(range(5))).tolist()
    # Killed between the last file and the end: the units are still there; and again when they are gone.
    assert SweepStore(tmp_path, CONDITIONS).open() == set(range(5))
    store.close()
    again = SweepStore(tmp_path, CONDITIONS)
    assert again.open() == set(range(5))
    before = contents(tmp_path)
    assert again.merge(5).tolist() == merged.tolist()
    assert contents(tmp_path) == before


def test_a_unit_that_is_cut_short_is_counted_again(tmp_path: Path) -> None:
    fill(tmp_path, [0, 1], [2])
    for size in (0, 30, 200):
        unit = tmp_path / 'units' / '00000000-2.npz'
        unit.write_bytes(unit.read_bytes()[:size] if size else b'')
        assert SweepStore(tmp_path, CONDITIONS).open() == {2}
        fill(tmp_path, [0, 1])


def test_counts_reach_the_disk_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr('mmposenc.mm.sweep.store.time.monotonic', lambda: now[0])
    store = fill(tmp_path)
    for position, seconds in enumerate((0.4, 0.9, 1.3, 1.5)):
        now[0] = seconds
        store.add([position], counts_of([position]))
    assert SweepStore(tmp_path, CONDITIONS).open() == {0, 1, 2}


def test_another_sweep_is_refused_by_the_names_of_what_differs(tmp_path: Path) -> None:
    fill(tmp_path, [0])
    with pytest.raises(ValueError, match=r'holds a sweep of other conditions \(num_channels, window differ\)'):
        SweepStore(tmp_path, dict(model='net', num_channels=[0], window=3))
    (tmp_path / 'sweep.json').write_text('{"format":')
    with pytest.raises(ValueError, match=r'sweep\.json is not JSON'):
        SweepStore(tmp_path, CONDITIONS)
    (tmp_path / 'sweep.json').write_text('[]')
    with pytest.raises(ValueError, match='is not of a sweep'):
        SweepStore(tmp_path, CONDITIONS)
    (tmp_path / 'sweep.json').unlink()
    (tmp_path / 'sweep.csv').touch()
    with pytest.raises(ValueError, match=r'holds files of a sweep without its sweep\.json'):
        SweepStore(tmp_path, CONDITIONS)
