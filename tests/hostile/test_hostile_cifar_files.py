"""CIFAR files and archives: the arrays that were written, or a refusal, and never a call that a pickle asks for."""

import gzip
import io
import pickle
import shutil
import struct
import tarfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_cases import hostile, listing, outcome
from hostile_pickles import CALLS, HARMLESS, call, hostile_values, program, value
from hostile_values import damaged
from hypothesis import example
from hypothesis import strategies as st

from mmposenc.mm.datasets.cifar_archive import ARCHIVES
from mmposenc.mm.datasets.cifar_split import read_cifar_split
from mmposenc.mm.datasets.file_md5 import file_md5
from mmposenc.mm.datasets.prepare_cifar import prepare_cifar
from mmposenc.mm.datasets.restricted_pickle import _STAND_INS, load_data_pickle

CIFAR100 = ARCHIVES['CIFAR100']
DATA = np.arange(4 * 3072, dtype=np.uint64).astype(np.uint8).reshape(4, 3072)
CONTENT = {'data': DATA, 'fine_labels': [3, 0, 99, 7], 'batch_label': 'training batch 1 of 1'}
ADMITTED = [tuple(name.rsplit('.', 1)) for name in _STAND_INS]
CANARY = 'canary'


@cache
def whole(protocol: int) -> bytes:
    return pickle.dumps(CONTENT, protocol)


def small(protocol: int) -> bytes:
    """The same file with 4 bytes instead of 3072 per image: more of its bytes are opcodes."""
    return pickle.dumps({**CONTENT, 'data': DATA[:, :4]}, protocol)


def ordinary(content: bytes) -> dict:
    """What an ordinary unpickler finds: only for what the restricted one has accepted."""
    return pickle.loads(content, encoding='bytes')


def check_split(folder: Path, content: bytes) -> None:
    """An accepted file gives what an ordinary unpickler finds in it."""
    path = folder / 'train'
    path.write_bytes(content)
    before = listing(folder)
    found, message = outcome(lambda: read_cifar_split(CIFAR100, folder, 'train', verify=False), path)
    assert listing(folder) == before
    if message is None:
        images, labels = found
        expected = {key.decode() if isinstance(key, bytes) else key: item for key, item in ordinary(content).items()}
        assert np.array_equal(images.flatten(1).numpy(), expected['data'])
        assert labels.tolist() == list(expected['fine_labels'])


@pytest.mark.parametrize('protocol', range(6))
def test_whole_files_are_accepted(tmp_path: Path, protocol: int) -> None:
    (tmp_path / 'train').write_bytes(whole(protocol))
    images, labels = read_cifar_split(CIFAR100, tmp_path, 'train', verify=False)
    assert np.array_equal(images.flatten(1).numpy(), DATA)
    assert labels.tolist() == [3, 0, 99, 7]


@hostile(150, content=st.sampled_from([2, 4, 5]).flatmap(lambda protocol: damaged(whole(protocol))))
@example(content=b'')
def test_damaged_cifar_files(tmp_path: Path, content: bytes) -> None:
    check_split(tmp_path, content)


@hostile(300, content=st.sampled_from(range(6)).flatmap(lambda protocol: damaged(small(protocol))))
def test_damaged_opcodes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'file'
    path.write_bytes(content)
    loaded, message = outcome(lambda: load_data_pickle(path), path)
    if message is None:
        expected = ordinary(content)
        assert len(loaded) == len(expected)
        for mine, right in zip(loaded.values(), expected.values(), strict=True):
            assert type(mine) is type(right) or isinstance(right, np.generic)
            np.testing.assert_array_equal(mine, right)


@hostile(100, content=st.sampled_from([2, 4]).flatmap(lambda protocol: damaged(whole(protocol))))
@example(content=whole(4))
def test_a_verified_file_is_the_official_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'official').write_bytes(whole(4))
    archive = replace(CIFAR100, members={'train': file_md5(tmp_path / 'official')})
    (tmp_path / 'train').write_bytes(content)
    found, message = outcome(lambda: read_cifar_split(archive, tmp_path, 'train', verify=True), tmp_path / 'train')
    assert (message is None) == (content == whole(4))
    if message is None:
        assert np.array_equal(found[0].flatten(1).numpy(), DATA)


@pytest.mark.parametrize('kind', sorted(set(CALLS) - set(HARMLESS)))
def test_an_ordinary_unpickler_would_make_the_canary(tmp_path: Path, kind: str) -> None:
    """So that the tests of hostile files can fail."""
    canary = tmp_path / CANARY
    pickle.loads(program({'data': call(kind, canary, 'STACK_GLOBAL', 'REDUCE')}, 4))
    assert canary.exists()


def entries(bad: bytes, key: str) -> dict[str, bytes]:
    good = {name: value('') if name == 'data' else value([1]) for name in CONTENT}
    return {**good, key: bad}


@hostile(600, data=st.data(), key=st.sampled_from([*CONTENT, 'coarse_labels']), protocol=st.integers(2, 5))
def test_no_call_in_a_cifar_file_is_made(tmp_path: Path, data: st.DataObject, key: str, protocol: int) -> None:
    canary = tmp_path / CANARY
    content = program(entries(data.draw(hostile_values(canary, ADMITTED)), key), protocol)
    content = data.draw(st.just(content) | damaged(content))
    path = tmp_path / 'train'
    path.write_bytes(content)
    _, message = outcome(lambda: read_cifar_split(CIFAR100, tmp_path, 'train', verify=False), path)
    assert message
    assert [path.name for path in tmp_path.iterdir()] == ['train']


def shared(depth: int, pair: bytes) -> bytes:
    """Nested pairs that are twice the same one: 2 ** depth items for a reader that forgets what it has seen."""
    return b']q\x00' + b''.join(b'(h\x00h\x00' + pair + b'q\x00' for _ in range(depth))


CLAIMS = [
    b'\x80\x02}r\xff\xff\xff\x7f.',  # a place in the memo that would take 34 GB
    b'\x80\x02}p4294967295\n.',
    b'\x80\x04\x95' + struct.pack('<Q', 2**36) + b'}.',
    b'\x80\x04\x8e' + struct.pack('<Q', 2**62) + b'}.',
    b'\x80\x05\x96' + struct.pack('<Q', 10**11) + b'}.',
    b'\x80\x02B' + struct.pack('<I', 2**32 - 1) + b'}.',
    b'\x80\x02\x8b' + struct.pack('<i', 2**31 - 1) + b'}.',
    b'\x80\x02I' + b'9' * 10**5 + b'\n.',
    b'\x80\x02' + b'(' * 10**5 + b't' * 10**5 + b'.',
    program({'data': b']' * 10**5 + b'a' * (10**5 - 1)}),
    program({'data': shared(60, b'l'), 'fine_labels': value([1])}),
    program({'batch_label': shared(60, b't'), 'data': value(''), 'fine_labels': value([1])}),
    program({'data': b'cnumpy\ndtype\n(' + shared(60, b'l') + b'tR', 'fine_labels': value([1])}),
    program({'data': b'cnumpy\ndtype\n' + value(('S' + '9' * 18,)) + b'R', 'fine_labels': value([1])}),
    program({'data': b']q\x00h\x00a', 'fine_labels': value([1])}),
]


@pytest.mark.parametrize('content', CLAIMS, ids=range(len(CLAIMS)))
def test_a_claim_of_more_than_there_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'train'
    path.write_bytes(content)
    _, message = outcome(lambda: read_cifar_split(CIFAR100, tmp_path, 'train', verify=False), path)
    assert message


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz', format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            member.mtime = 0
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = '') -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


FILES = {name: pickle.dumps({'data': name, 'fine_labels': [1]}) for name in ('train', 'test')}
ARCHIVE = packed(*((member(f'cifar-100-python/{name}', len(content)), content) for name, content in FILES.items()))


def check_archive(root: Path, content: bytes, outside: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    tarball = root / CIFAR100.filename
    tarball.write_bytes(content)
    _, message = outcome(
        lambda: prepare_cifar(CIFAR100, root, 'train', verify=False, download=False), root / CIFAR100.filename
    )
    unpacked = listing(root)
    del unpacked[CIFAR100.filename]
    assert {path.rpartition('/')[0] for path in unpacked} <= {'cifar-100-python'}
    assert not [path for path in root.rglob('*') if path.is_symlink() or path.name.endswith('.part')]
    assert not outside.exists()
    if message is None:
        assert unpacked['cifar-100-python/train'] == FILES['train']
    shutil.rmtree(root / 'cifar-100-python', ignore_errors=True)
    with pytest.raises(ValueError, match='is not the official file'):
        prepare_cifar(CIFAR100, root, 'train', verify=True, download=False)


@hostile(200, content=damaged(ARCHIVE))
@example(content=ARCHIVE)
def test_damaged_archives(tmp_path: Path, content: bytes) -> None:
    check_archive(tmp_path / 'root', content, tmp_path / 'outside')


KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.REGTYPE]
NAMES = [
    '../outside',
    '../../outside',
    'cifar-100-python/../../outside',
    'cifar-100-python',
    './cifar-100-python/train',
]


@hostile(
    150,
    odd=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(KINDS)), min_size=1, max_size=3),
    last=st.booleans(),
)
def test_archives_that_point_elsewhere(tmp_path: Path, odd: list[tuple[str, bytes]], last: bool) -> None:
    outside = tmp_path / 'outside'
    targets = ['cifar-100-python/test', str(outside)]
    first = [(member(name, 0, kind, targets[place % 2]), b'') for place, (name, kind) in enumerate(odd)]
    good = [(member(f'cifar-100-python/{name}', len(content)), content) for name, content in FILES.items()]
    root = tmp_path / 'root'
    shutil.rmtree(root, ignore_errors=True)
    content = packed(*(good + first if last else first + good))
    if not last and './cifar-100-python/train' in [name for name, kind in odd if kind == tarfile.REGTYPE]:
        return  # an empty file under the right name is the archive's own affair
    check_archive(root, content, outside)


def bomb(size: int) -> bytes:
    info = member('cifar-100-python/train', size)
    return gzip.compress(info.tobuf(format=tarfile.GNU_FORMAT))


@pytest.mark.parametrize('size', [10**9, 10**12, 2**60])
def test_an_archive_that_claims_a_huge_member(tmp_path: Path, size: int) -> None:
    root = tmp_path / 'root'
    root.mkdir()
    (root / CIFAR100.filename).write_bytes(bomb(size))
    _, message = outcome(
        lambda: prepare_cifar(CIFAR100, root, 'train', verify=False, download=False), root / CIFAR100.filename
    )
    assert message
    assert sorted(listing(root)) == [CIFAR100.filename]


def test_an_archive_that_unpacks_to_a_gibibyte_of_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr('mmposenc.mm.datasets.prepare_cifar._MOST_BYTES', 2**24)
    root = tmp_path / 'root'
    root.mkdir()
    (root / CIFAR100.filename).write_bytes(gzip.compress(bytes(2**24 + 1)))
    _, message = outcome(lambda: prepare_cifar(CIFAR100, root, 'train', verify=False, download=False), root)
    assert 'unpacks to more than 16777216 bytes' in message
