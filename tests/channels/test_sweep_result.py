"""The folder of a sweep that is interrupted, damaged, or of another sweep."""

from pathlib import Path

import pytest
import torch

from mmposenc.channels.sweep_result import SweepFolder

CONDITIONS = dict(format='mmposenc.sweep/2', model='net')


def counts_of(positions: list[int]) -> torch.Tensor:
    return torch.tensor([[position, 10 * position] for position in positions], dtype=torch.int32)


def fill(folder: Path, *units: list[int]) -> SweepFolder:
    store = SweepFolder(folder, CONDITIONS)
    store.open()
    for unit in units:
        store.add(unit, counts_of(unit))
        store.flush()
    return store


def test_it_resumes_where_it_stopped_and_counts_damaged_units_again(tmp_path: Path) -> None:
    fill(tmp_path, [4, 5], [0, 1])
    left = tmp_path / 'units' / '.00000009-1.npz.77.tmp'
    left.write_bytes(b'half a file')
    unit = tmp_path / 'units' / '00000000-2.npz'
    whole = unit.read_bytes()
    for size in (0, 30, 200):
        unit.write_bytes(whole[:size])
        assert SweepFolder(tmp_path, CONDITIONS).open() == {4, 5}
    unit.write_bytes(whole)
    store = SweepFolder(tmp_path, CONDITIONS)
    assert store.open() == {0, 1, 4, 5}
    assert not left.exists()
    with pytest.raises(ValueError, match='2 of 6 images are not counted yet: run the same command again'):
        store.merge(6)
    store.add([2, 3], counts_of([2, 3]))
    store.flush()
    assert store.merge(6).tolist() == counts_of(list(range(6))).tolist()
    store.close()
    assert not store.units.exists()


def test_another_sweep_is_refused_by_the_names_of_what_differs(tmp_path: Path) -> None:
    fill(tmp_path, [0])
    with pytest.raises(ValueError, match=r'holds a sweep under other conditions \(model, window differ\)'):
        SweepFolder(tmp_path, {**CONDITIONS, 'model': 'other', 'window': 3})
    (tmp_path / 'sweep.json').write_text('{"format":')
    with pytest.raises(ValueError, match=r'sweep\.json is not of a sweep, or is damaged'):
        SweepFolder(tmp_path, CONDITIONS)
    (tmp_path / 'sweep.json').unlink()
    (tmp_path / 'sweep.csv').touch()
    with pytest.raises(ValueError, match=r'holds files of a sweep without its sweep\.json'):
        SweepFolder(tmp_path, CONDITIONS)
