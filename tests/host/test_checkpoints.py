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
from torch import nn
from toy_training import Calls

from mmposenc.host.checkpoints import last_whole_checkpoint, load_exactly, read_checkpoint, read_resumable


def save(path: Path, **content: Any) -> Path:
    torch.save({'state_dict': {'w': torch.ones(2)}, 'meta': {}, 'message_hub': {}, **content}, path)
    return path


def rewrite(path: Path, method: int = zipfile.ZIP_STORED, rename: tuple[bytes, bytes] = (b'', b'')) -> Path:
    """The same archive, compressed or with another name in its pickle."""
    with zipfile.ZipFile(path) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, 'w', method) as archive:
        for entry, data in files.items():
            archive.writestr(entry, data.replace(*rename) if rename[0] else data)
    return path


def truncate(path: Path) -> Path:
    os.truncate(path, path.stat().st_size // 2)
    return path


def test_what_a_run_writes_comes_back(tmp_path: Path) -> None:
    history = HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 1])
    path = save(tmp_path / 'a.pth', log=history, array=np.arange(3.0), number=np.float64(0.5), count=np.int64(7))
    read = read_checkpoint(path)
    assert read['state_dict']['w'].tolist() == [1, 1]
    assert (read['log'].mean(), read['log'].current(), read['log'].statistics('max')) == (3.0, 6.0, 6.0)
    assert read['array'].tolist() == [0, 1, 2]
    assert (read['number'], read['count']) == (0.5, 7)


def test_other_forms_of_the_same_file_come_back(tmp_path: Path) -> None:
    """Under numpy's older name; compressed, as some archives are re-packed; and in the format before PyTorch 1.6."""
    names = (b'numpy._core.multiarray', b'numpy.core.multiarray')
    own, other = names if np.__version__ >= '2' else names[::-1]
    renamed = rewrite(save(tmp_path / 'a.pth', array=np.arange(3.0)), rename=(b'c' + own + b'\n', b'c' + other + b'\n'))
    assert other in renamed.read_bytes()
    assert read_checkpoint(renamed)['array'].tolist() == [0, 1, 2]

    packed = save(tmp_path / 'b.pth', zeros=torch.zeros(10_000))
    size = packed.stat().st_size
    assert rewrite(packed, zipfile.ZIP_DEFLATED).stat().st_size < size / 5
    assert read_checkpoint(packed)['zeros'].shape == (10_000,)

    torch.save({'w': torch.ones(2)}, tmp_path / 'c.pth', _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / 'c.pth')['w'].tolist() == [1, 1]


@pytest.mark.parametrize(
    'bad, asked',
    [
        (lambda trace: Calls(os.system, f'touch {trace}'), r'\S*system'),
        (lambda trace: Calls(open, str(trace), 'w'), r'\S*open'),
        (lambda trace: Calls(exec, f'open({str(trace)!r}, "w")'), r'\S*exec'),
        (lambda trace: Calls(torch.save, [1], str(trace)), r'torch\.serialization\.save'),
        (lambda trace: Calls(np.memmap, str(trace), 'u1', 'w+', 0, (1,)), r'numpy\S*memmap'),
    ],
)
def test_code_runs_only_if_it_is_trusted(tmp_path: Path, bad: Any, asked: str) -> None:
    trace = tmp_path / 'ran'
    path = save(tmp_path / 'a.pth', bad=bad(trace))
    for read in (read_checkpoint, read_resumable):
        with pytest.raises(ValueError, match=rf'a\.pth was not loaded: it asks for {asked}, .*--trust-checkpoint'):
            read(path)
    assert not trace.exists()
    read_checkpoint(path, trust=True)
    assert trace.exists()


@pytest.mark.parametrize(
    'bad',
    [
        Calls(builtins.getattr, HistoryBuffer, '__init__'),
        Calls(builtins.getattr, np.ndarray, 'tofile'),
        Calls(HistoryBuffer.register_statistics, len),
        Calls(np.ndarray, (1,), 'O', b'x' * 8),  # bytes as a pointer: whoever touches the array crashes
    ],
)
def test_what_is_admitted_reaches_nothing_else(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(ValueError, match='was not loaded: it asks for '):
        read_checkpoint(save(tmp_path / 'a.pth', bad=bad))


def test_a_program_is_no_checkpoint_and_a_text_that_mmengine_would_run_is_dropped(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / 'script.pth')
    with pytest.raises(ValueError, match=r'script\.pth was not loaded: it asks for TorchScript'):
        read_checkpoint(tmp_path / 'script.pth')
    path = save(tmp_path / 'a.pth', meta={'config': 'open("ran", "w")', 'epoch': 3})
    assert read_checkpoint(path)['meta'] == {'epoch': 3}
    assert 'config' in read_checkpoint(path, trust=True)['meta']


def test_damage_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.pth')
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b'', b'<html>not found</html>'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'a\.pth is damaged or not a checkpoint'):
            read_checkpoint(path)
    place = whole.index(torch.ones(2).numpy().tobytes())
    path.write_bytes(whole[:place] + b'\1' + whole[place + 1 :])
    with pytest.raises(ValueError, match=r'the checksum of .* is not the one it was written with'):
        read_checkpoint(path)


@pytest.mark.parametrize('content', [[1, 2], {'state_dict': {1: 2}}])
def test_files_without_weights(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='holds no dict of weights by their names'):
        read_checkpoint(tmp_path / 'a.pth')


def test_last_whole_checkpoint_passes_over_damage(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path) == (None, [])
    first, second, third = (save(tmp_path / f'epoch_{epoch}.pth') for epoch in (1, 2, 3))
    for age, path in enumerate((third, second, first)):
        os.utime(path, (1000 - age, 1000 - age))
    note = tmp_path / 'last_checkpoint'
    for content in (b'', b'\xff\xfe', b'a\0b', b'a' * 5000, b'/'):  # as a full disk or somebody else leaves it
        note.write_bytes(content)
        assert last_whole_checkpoint(tmp_path) == (third, [])
    note.write_text(str(first))
    assert last_whole_checkpoint(tmp_path) == (first, [])
    note.write_text(str(truncate(third)))
    path, (reason,) = last_whole_checkpoint(tmp_path)
    assert path == second
    assert 'epoch_3.pth is damaged' in reason
    truncate(first)
    truncate(second)
    with pytest.raises(ValueError, match=r'no checkpoint in .* can be resumed .*epoch_3.*again without --resume'):
        last_whole_checkpoint(tmp_path)


def net(width: int = 2, depth: int = 1) -> nn.Module:
    return nn.Sequential(*(nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)) for _ in range(depth)))


def test_weights_that_fit_exactly_are_loaded() -> None:
    model, state = net(), net().state_dict()
    load_exactly(model, {f'module.{key}': value for key, value in state.items()}, 'Net')
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    del state['0.1.num_batches_tracked']
    load_exactly(net(), state, 'Net')


@pytest.mark.parametrize(
    'model, state, message',
    [
        (net(depth=2), net(), r'does not fit Net: 6 missing, first 1\.0\.weight; 1\.0\.bias'),
        (net(), net(depth=2), r': 7 unexpected, first 1\.0\.weight; 1\.0\.bias; 1\.1\.weight\. Give the config'),
        (net(), net(width=3), r'of another shape, first size mismatch for 0\.0\.weight: .*\[3, 3\].*\[2, 2\]'),
        (nn.Linear(1, 1), nn.ModuleDict({'o': net()}), r'2 missing, first weight; bias \| 7 unexpected, first o'),
    ],
)
def test_weights_of_another_model(model: nn.Module, state: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_exactly(model, state.state_dict(), 'Net')
