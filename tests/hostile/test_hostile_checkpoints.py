"""Checkpoints: what was saved comes back, or a refusal; what a hostile one asks for is done only if it is trusted."""

import io
import shutil
import struct
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_cases import end_of_tool, hostile, load_tool, outcome
from hostile_pickles import CALLS, HARMLESS, call, hostile_values, in_legacy, in_tar, in_zip, program, value
from hostile_values import JSON, damaged
from hypothesis import example
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmposenc.host.checkpoints import last_whole_checkpoint, read_checkpoint, read_resumable
from mmposenc.host.patches import prepare_hosts

ADMITTED = [
    ('torch._utils', '_rebuild_tensor_v2'),
    ('torch._utils', '_rebuild_parameter'),
    ('collections', 'OrderedDict'),
    ('mmengine.logging.history_buffer', 'HistoryBuffer'),
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', 'scalar'),
    ('builtins', 'getattr'),
    ('_codecs', 'encode'),
]
PLACES = ('state_dict', 'meta', 'message_hub', 'optimizer')


@cache
def saved(legacy: bool = False) -> bytes:
    """A checkpoint with everything that a run of the hosts writes."""
    content = dict(
        state_dict=dict(weight=torch.arange(40.0), bias=torch.tensor([1, 2, 3])),
        meta=dict(epoch=1, iter=2, seed=0, cfg='model = 1'),
        message_hub=dict(
            log_scalars=dict(loss=HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 1])),
            runtime_info=dict(array=np.arange(3.0), number=np.float64(0.5)),
            resumed_keys={},
        ),
        optimizer=dict(state={}, param_groups=[dict(lr=0.1, params=[0, 1])]),
    )
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, HistoryBuffer):
        return isinstance(other, HistoryBuffer) and one.data[0].tolist() == other.data[0].tolist()
    if isinstance(one, torch.Tensor | np.ndarray):
        return type(one) is type(other) and one.dtype == other.dtype and one.tolist() == other.tolist()
    return type(one) is type(other) and one == other


def load(path: Path, trust: bool = False) -> Any:
    """As the tools do: through the host's own loader, which `prepare_hosts` has made safe."""
    prepare_hosts(trust)
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def only_file(folder: Path, path: Path) -> None:
    assert [found.name for found in folder.iterdir()] == [path.name]


@pytest.mark.parametrize('legacy', [False, True])
def test_a_whole_checkpoint_comes_back(hosts_unchanged: None, tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / 'whole.pth'
    path.write_bytes(saved(legacy))
    expected = torch.load(io.BytesIO(saved()), weights_only=False)
    assert same(load(path), expected)
    assert same(read_resumable(path), expected)


@hostile(300, content=damaged(saved()))
def test_a_damaged_checkpoint_is_refused_or_whole(hosts_unchanged: None, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'damaged.pth'
    path.write_bytes(content)
    loaded, message = outcome(lambda: load(path), path)
    if message is None:
        assert same(loaded, torch.load(io.BytesIO(saved()), weights_only=False))
    only_file(tmp_path, path)


@hostile(100, content=damaged(saved(True)) | st.binary(max_size=200))
def test_a_damaged_old_checkpoint_runs_nothing(hosts_unchanged: None, tmp_path: Path, content: bytes) -> None:
    """The format before PyTorch 1.6 has no checksums: changed numbers pass, but nothing is run."""
    path = tmp_path / 'damaged.pth'
    path.write_bytes(content)
    loaded, message = outcome(lambda: load(path), path)
    assert message is not None or all(isinstance(key, str) for key in loaded.get('state_dict', loaded))
    only_file(tmp_path, path)


def test_an_exhaustive_flip_of_every_byte_of_the_data(hosts_unchanged: None, tmp_path: Path) -> None:
    content, path = saved(), tmp_path / 'flipped.pth'
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        weights = content.index(torch.arange(40.0).numpy().tobytes())
        assert archive.testzip() is None
    for place in range(weights, weights + 160, 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r'the checksum of .* is another one than when it was written'):
            load(path)


def container(kind: str, data: bytes) -> bytes:
    if kind == 'zip':
        return in_zip(saved(), data)
    if kind == 'script':  # what PyTorch takes for TorchScript
        return in_zip(saved(), data, {'constants.pkl': data, 'code/a.py': b'import os'})
    return {'legacy': in_legacy, 'tar': in_tar, 'pickle': bytes}[kind](data)


CONTAINERS = ['zip', 'zip', 'legacy', 'tar', 'pickle', 'script']


@hostile(
    700,
    data=st.data(),
    kind=st.sampled_from(CONTAINERS),
    place=st.sampled_from(PLACES),
    protocol=st.integers(2, 4),
    damage=st.integers(0, 4),
)
def test_no_call_in_a_checkpoint_is_made(
    hosts_unchanged: None, tmp_path: Path, data: st.DataObject, kind: str, place: str, protocol: int, damage: int
) -> None:
    path = tmp_path / 'hostile.pth'
    bad = data.draw(hostile_values(tmp_path / 'canary', ADMITTED))
    content = container(kind, program({**dict.fromkeys(PLACES, b'}'), place: bad}, protocol))
    if damage == 0:
        content = data.draw(damaged(content))
    path.write_bytes(content)
    _, message = outcome(lambda: load(path), path)
    assert message
    only_file(tmp_path, path)


@pytest.mark.parametrize('kind', sorted(set(CALLS) - set(HARMLESS)))
def test_a_trusted_checkpoint_runs_and_no_other(hosts_unchanged: None, tmp_path: Path, kind: str) -> None:
    canary, path = tmp_path / 'canary', tmp_path / 'hostile.pth'
    bad = call(kind, canary, 'GLOBAL', 'REDUCE')
    path.write_bytes(in_zip(saved(), program({'state_dict': b'}', 'meta': bad}, 4)))
    for read in (load, read_checkpoint, read_resumable):
        with pytest.raises(ValueError, match=r'was not loaded: it asks for .*pass --trust-checkpoint'):
            read(path)
    assert not canary.exists()
    load(path, trust=True)
    assert canary.exists()


def test_torchscript_is_a_program(hosts_unchanged: None, tmp_path: Path) -> None:
    path = tmp_path / 'script.pth'
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(ValueError, match=r'was not loaded: it asks for torch\.jit\.load'):
        load(path)


def gadget(*parts: bytes) -> bytes:
    return program({'state_dict': b'}', 'meta': b''.join(parts)})


OBJECT = b'cnumpy\ndtype\n' + value(('O',)) + b'R'
GADGETS = [
    gadget(b'cbuiltins\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\n' + value('__init__') + b'tR'),
    gadget(b'cbuiltins\ngetattr\n(cnumpy\nndarray\n' + value('tofile') + b'tR'),
    gadget(b'cmmengine.logging.history_buffer\nHistoryBuffer.register_statistics\n' + value(()) + b'R'),
    gadget(b'c_codecs\nencode\n' + value(('x', 'zlib')) + b'R'),
    gadget(b'cnumpy\nndarray\n(' + value((10**6, 10**6)) + b'tR'),
    gadget(b'cnumpy\nndarray\n(' + value((2,)) + OBJECT + value('aaaaaaaaaaaaaaaa') + b'tR'),
    gadget(b'cnumpy._core.multiarray\nscalar\n(' + OBJECT + value('aaaaaaaa') + b'tR' + value(()) + b'R'),
    gadget(b'ctorch._utils\n_rebuild_tensor_v2\n(' + value(('storage', 0)) + b'tR'),
    gadget(b'ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\ncbuiltins\nlist\n' + value((1,)) + b'}tR'),
    gadget(b'ctorch._utils\n_rebuild_device_tensor_from_numpy\n)R'),
    gadget(b'ccollections\nOrderedDict\n)R}' + value('__class__') + value('x') + b'sb'),
    gadget(b'](' * 3000 + b'l' * 0 + b'e' * 3000),
    gadget(b']q\x00h\x00a'),
    program({'state_dict': b'K\x01'}),
    program({'state_dict': b'}K\x01K\x02s'}),
    b'\x80\x02K\x01.',
    b'\x80\x02N.',
    b'\x80\x02].',
]


@pytest.mark.parametrize('kind', ['zip', 'legacy'])
@pytest.mark.parametrize('data', GADGETS, ids=range(len(GADGETS)))
def test_what_is_admitted_cannot_be_turned(hosts_unchanged: None, tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / 'hostile.pth'
    path.write_bytes(container(kind, data))
    loaded, message = outcome(lambda: load(path), path)
    assert message is not None or isinstance(loaded['meta'], list | np.ndarray | bytes | str | dict)
    only_file(tmp_path, path)


def zip_of(method: int, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', method) as archive:
        for name, content in members.items():
            archive.writestr(f'archive/{name.replace("_", ".")}', content)
    return buffer.getvalue()


def claiming(numel: int) -> bytes:
    """A tensor of that many numbers over a storage of 4."""
    buffer = io.BytesIO()
    torch.save({'w': torch.ones(4)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        name = next(name for name in archive.namelist() if name.endswith('data.pkl'))
        data = archive.read(name)
    number = b'\x8a\x08' + struct.pack('<q', numel)
    return in_zip(buffer.getvalue(), data.replace(b'K\x04', number))


BOMBS = [
    zip_of(zipfile.ZIP_DEFLATED, data_pkl=b'\x80\x02X' + struct.pack('<I', 2 * 10**8) + b'a' * 2 * 10**8 + b'.'),
    zip_of(zipfile.ZIP_DEFLATED, data_pkl=b'\x80\x02}.', version=b'3', byteorder=b'\0' * 10**7),
    claiming(10**9),
    claiming(10**15),
    claiming(-1),
    b'\x80\x02B' + struct.pack('<I', 2**32 - 1),
    in_legacy(b'\x80\x02X' + struct.pack('<I', 2**32 - 1) + b'.'),
    in_legacy(b'\x80\x02r\xff\xff\xff\x7f.'),
    saved()[: len(saved()) // 2] + saved(),
]


@pytest.mark.parametrize('content', BOMBS, ids=range(len(BOMBS)))
def test_a_checkpoint_that_claims_more_than_it_holds(hosts_unchanged: None, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'bomb.pth'
    path.write_bytes(content)
    loaded, message = outcome(lambda: load(path), path)
    assert message is not None or loaded['w'].numel() == 0


def test_resuming_does_not_run_the_config_inside(
    hosts_unchanged: None, tmp_path: Path, classifier_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mmengine runs `meta['config']` as a Python file when it resumes; a trusted checkpoint still gets there."""
    monkeypatch.chdir(tmp_path)
    train, canary = load_tool('train'), tmp_path / 'canary'
    train.main([str(classifier_config), '--cfg-options', 'train_cfg.max_epochs=1', '--work-dir', 'run'])
    checkpoint = torch.load('run/epoch_1.pth', weights_only=False)
    checkpoint['meta']['config'] = f'open({str(canary)!r}, "w").close()\n'
    torch.save(checkpoint, 'hostile.pth')
    options = [str(classifier_config), '--work-dir', 'again', '--cfg-options', 'train_cfg.max_epochs=2']
    train.main([*options, '--resume', 'hostile.pth'])
    train.main([*options, 'load_from=hostile.pth', 'resume=True'])
    assert not canary.exists()
    train.main([*options, '--resume', 'hostile.pth', '--trust-checkpoint'])
    assert canary.exists()


@hostile(60, note=st.binary(max_size=60) | st.text(max_size=20).map(lambda text: text.encode(errors='replace')))
@example(note=b'\xff\xfe')
@example(note=b'a\0b')
@example(note=b'a' * 5000)
@example(note=b'/')
def test_any_note_of_the_last_checkpoint(tmp_path: Path, note: bytes) -> None:
    (tmp_path / 'epoch_1.pth').write_bytes(saved())
    (tmp_path / 'last_checkpoint').write_bytes(note)
    found, message = outcome(lambda: last_whole_checkpoint(tmp_path))
    assert message is None
    assert found[0] == tmp_path / 'epoch_1.pth'


def trained_once(folder: Path, config: Path) -> dict:
    """A real checkpoint, trained in the first case and kept."""
    path = folder / 'epoch_1.pth'
    if not path.exists():
        load_tool('train').main([str(config), '--cfg-options', 'train_cfg.max_epochs=1', '--work-dir', str(folder)])
    return torch.load(path, weights_only=False)


SWAPPED = st.sampled_from(
    [(key,) for key in PLACES]
    + [('param_schedulers',), ('meta', 'epoch'), ('meta', 'iter'), ('meta', 'seed'), ('meta', 'dataset_meta')]
    + [('message_hub', 'log_scalars'), ('message_hub', 'runtime_info'), ('message_hub', 'resumed_keys')]
    + [('optimizer', 'param_groups'), ('optimizer', 'state'), ('random_states',)]
)


@hostile(12, 5, path=SWAPPED, replaced=JSON | st.just('@removed'), resumed=st.booleans())
@example(path=('meta', 'epoch'), replaced='@removed', resumed=True)
@example(path=('optimizer', 'param_groups'), replaced=7, resumed=True)
@example(path=('message_hub', 'log_scalars'), replaced='@removed', resumed=True)
@example(path=('state_dict',), replaced={'a': 1}, resumed=False)
def test_a_checkpoint_with_any_part_exchanged(
    hosts_unchanged: None, tmp_path: Path, classifier_config: Path, capsys: Any,
    path: tuple, replaced: Any, resumed: bool,
) -> None:  # fmt: skip
    """Through the whole tool: it trains or tests, or ends with status 1 and one line."""
    content = trained_once(tmp_path / 'trained', classifier_config)
    owner = content
    for key in path[:-1]:
        owner = owner[key]
    if replaced == '@removed':
        owner.pop(path[-1], None)
    else:
        owner[path[-1]] = replaced
    torch.save(content, tmp_path / 'changed.pth')
    shutil.rmtree(tmp_path / 'run', ignore_errors=True)
    arguments = [str(classifier_config), '--work-dir', str(tmp_path / 'run')]
    if resumed:
        arguments += ['--resume', str(tmp_path / 'changed.pth'), '--cfg-options', 'train_cfg.max_epochs=1']
    else:
        arguments.insert(1, str(tmp_path / 'changed.pth'))
    status, _ = end_of_tool('train' if resumed else 'test', arguments, capsys)
    assert status in (0, 1)
