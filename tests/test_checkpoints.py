"""Reading checkpoints: what a run writes is admitted, code is not, and damage is named."""

import builtins
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmposenc.host.checkpoints import last_whole_checkpoint, read_checkpoint, read_resumable


class Calls:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


def save(path: Path, **content: Any) -> Path:
    torch.save({'state_dict': {'w': torch.ones(2)}, 'meta': {}, 'message_hub': {}, **content}, path)
    return path


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def test_what_a_run_writes_comes_back(tmp_path: Path) -> None:
    history = HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 1])
    path = save(tmp_path / 'a.pth', log=history, array=np.arange(3.0), number=np.float64(0.5), count=np.int64(7))
    read = read_checkpoint(path)
    assert read['state_dict']['w'].tolist() == [1, 1]
    assert (read['log'].mean(), read['log'].current(), read['log'].statistics('max')) == (3.0, 6.0, 6.0)
    assert read['array'].tolist() == [0, 1, 2]
    assert (read['number'], read['count']) == (0.5, 7)


def test_an_array_saved_under_the_older_name_of_numpy_comes_back(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth', array=np.arange(3.0))
    name = b'numpy._core.multiarray' if np.__version__ >= '2' else b'numpy.core.multiarray'
    other = b'numpy.core.multiarray' if np.__version__ >= '2' else b'numpy._core.multiarray'
    with zipfile.ZipFile(path) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    renamed = tmp_path / 'b.pth'
    with zipfile.ZipFile(renamed, 'w') as archive:
        for entry, data in files.items():
            archive.writestr(entry, data.replace(b'c' + name + b'\n', b'c' + other + b'\n'))
    assert renamed.read_bytes() != path.read_bytes()
    assert read_checkpoint(renamed)['array'].tolist() == [0, 1, 2]


def test_a_hostile_checkpoint_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / 'ran'
    path = save(tmp_path / 'a.pth', bad=Calls(os.system, f'touch {trace}'))
    with pytest.raises(ValueError, match=r'a\.pth was not loaded: it asks for \S*system.*--trust-checkpoint'):
        read_checkpoint(path)
    assert not trace.exists()
    read_checkpoint(path, trust=True)
    assert trace.exists()


@pytest.mark.parametrize('owner, name', [(HistoryBuffer, '__init__'), (np.ndarray, 'tofile')])
def test_getattr_reaches_nothing_but_the_statistics(tmp_path: Path, owner: type, name: str) -> None:
    path = save(tmp_path / 'a.pth', bad=Calls(builtins.getattr, owner, name))
    with pytest.raises(ValueError, match='was not loaded: it asks for getattr'):
        read_checkpoint(path)


@pytest.mark.parametrize('damage', ['half', 'head', 'empty', 'text'])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    path = save(tmp_path / 'a.pth')
    if damage == 'half':
        truncate(path)
    elif damage == 'head':
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.write_text('' if damage == 'empty' else '<html>not found</html>')
    with pytest.raises(ValueError, match=r'a\.pth is damaged or no checkpoint'):
        read_checkpoint(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'b\.pth does not exist'):
        read_checkpoint(tmp_path / 'b.pth')


def test_weights_alone_cannot_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {}, 'meta': {}}, path)
    with pytest.raises(ValueError, match=r'holds no message_hub, .* --cfg-options load_from=.*weights\.pth'):
        read_resumable(path)


def test_last_whole_checkpoint_passes_over_damage(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path) == (None, [])
    first, second, third = (save(tmp_path / f'epoch_{epoch}.pth') for epoch in (1, 2, 3))
    for age, path in enumerate((third, second, first)):
        os.utime(path, (1000 - age, 1000 - age))
    note = tmp_path / 'last_checkpoint'
    note.write_text('')  # as a full disk leaves it
    assert last_whole_checkpoint(tmp_path) == (third, [])
    note.write_text(str(first))
    assert last_whole_checkpoint(tmp_path) == (first, [])
    note.write_text(str(truncate(third)))
    path, reasons = last_whole_checkpoint(tmp_path)
    assert path == second
    assert len(reasons) == 1
    assert 'epoch_3.pth is damaged' in reasons[0]
    truncate(first)
    truncate(second)
    with pytest.raises(ValueError, match=r'no checkpoint in .* can be resumed .*epoch_3.*again without --resume'):
        last_whole_checkpoint(tmp_path)
