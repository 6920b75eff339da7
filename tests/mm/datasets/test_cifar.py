"""CIFAR on tiny files of its layout: what is read, where it comes from, and what is refused without being run."""

import os
import pickle
import shutil
import struct
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torchvision.datasets.utils import calculate_md5
from toy_training import Calls

from mmposenc.mm.datasets import cifar
from mmposenc.mm.datasets.cifar import CIFAR10, CIFAR100

SPLITS = ('train', 'test')
ONE_DOWNLOAD = 2  # requests: torchvision looks for a redirection first


def content(split: str) -> dict:
    """Image i of a split is filled with i + 1 in train and 100 + i in test; its label is 3 * i."""
    first, number = {'train': (1, 12), 'test': (100, 5)}[split]
    data = np.repeat(np.arange(first, first + number, dtype=np.uint8)[:, None], 3072, axis=1)
    return {'data': data, 'fine_labels': [3 * i for i in range(number)]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny unpacked CIFAR-100 below a data root."""
    folder = tmp_path / 'root' / 'cifar-100-python'
    folder.mkdir(parents=True)
    for split in SPLITS:
        (folder / split).write_bytes(pickle.dumps(content(split)))
    (folder / 'meta').write_bytes(pickle.dumps({'fine_label_names': list(CIFAR100.categories)}))
    return folder


def read(folder: Path, split: str = 'train', **kwargs) -> CIFAR100:
    return CIFAR100(str(folder.parent), split, **{'verify': False, **kwargs})


def test_both_splits(folder):
    train, test = read(folder), read(folder, 'test')
    assert train.images[:, 1, 16, 16].tolist() == list(range(1, 13))
    assert test.images[:, 1, 16, 16].tolist() == list(range(100, 105))
    assert test.labels.tolist() == [0, 3, 6, 9, 12]
    assert [train.metainfo['classes'][i] for i in (0, 8, 99)] == ['apple', 'bicycle', 'worm']
    assert torch.equal(read(folder, fraction=0.25).images, train.images[[0, 4, 8]])
    assert torch.equal(read(folder, indices=[11, 2]).labels, train.labels[[11, 2]])


def test_cifar10_of_five_files(tmp_path):
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    for i in range(1, 6):
        batch = {'data': np.full((3, 3072), i, np.uint8), 'labels': np.array([i, 0, 9])}
        (folder / f'data_batch_{i}').write_bytes(pickle.dumps(batch))
    data = CIFAR10(str(tmp_path), verify=False)
    assert data.images[::3, 0, 0, 0].tolist() == data.labels[::3].tolist() == [1, 2, 3, 4, 5]
    assert data.metainfo['classes'][:2] == ('airplane', 'automobile')


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('layout', [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize('labels', [list, np.array, partial(np.array, dtype='>i4'), lambda x: [np.int64(i) for i in x]])
def test_every_way_to_pickle_the_same_file(folder, protocol, layout, labels):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3072), np.uint8)
    written = {'data': layout(pixels), 'fine_labels': labels(content('train')['fine_labels'])}
    (folder / 'train').write_bytes(pickle.dumps(written, protocol))
    data = read(folder)
    hwc = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # as torchvision has them
    assert np.array_equal(data.images.permute(0, 2, 3, 1), hwc)
    assert data.labels.tolist() == content('train')['fine_labels']


def test_a_pickle_of_python_2(folder):
    """The official files: protocol 2, written by numpy 1 on Python 2, with text where Python 3 has bytes."""

    def text(value: bytes) -> bytes:
        return b'U' + bytes([len(value)]) + value  # SHORT_BINSTRING

    pixels = bytes(range(256)) * 12
    empty = b'cnumpy.core.multiarray\n_reconstruct\n' + b'cnumpy\nndarray\n' + b'K\x00\x85' + text(b'b') + b'\x87R'
    dtype = b'cnumpy\ndtype\n' + text(b'u1') + b'K\x00K\x01\x87R'
    dtype += b'(K\x03' + text(b'|') + b'NNN' + b'J\xff\xff\xff\xff' * 2 + b'K\x00tb'
    state = b'(K\x01K\x01M\x00\x0c\x86' + dtype + b'\x89' + b'T' + struct.pack('<i', len(pixels)) + pixels + b'tb'
    items = text(b'data') + empty + state + text(b'fine_labels') + b']K\x2aa'
    (folder / 'train').write_bytes(b'\x80\x02}(' + items + b'u.')
    data = read(folder)
    assert data.images.flatten().tolist() == list(pixels)
    assert data.labels.tolist() == [42]


@pytest.fixture
def site(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serves the tiny set as the official archive, and makes its checksums the official ones; gives what was asked."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:  # of each request
            asked.append(self.path)

    packed = tmp_path / 'site' / 'cifar-100-python.tar.gz'
    packed.parent.mkdir()
    with tarfile.open(packed, 'w:gz') as tar:
        tar.add(folder, folder.name)
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(packed.parent)))

    class Official(torchvision.datasets.CIFAR100):
        url = f'http://127.0.0.1:{server.server_port}/{packed.name}'
        tgz_md5 = calculate_md5(packed)
        train_list, test_list = ([[split, calculate_md5(folder / split)]] for split in SPLITS)
        meta = {**torchvision.datasets.CIFAR100.meta, 'md5': calculate_md5(folder / 'meta')}

    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(CIFAR100, 'official', Official)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_runs_that_start_at_once_share_one_download_and_later_ones_need_none(site, tmp_path):
    new = tmp_path / 'new' / 'cifar-100-python'
    with ThreadPoolExecutor(4) as runs:
        sizes = list(runs.map(lambda _: len(read(new, verify=True)), range(4)))
    assert len(read(new, 'test', verify=True, download=False)) == 5
    assert sorted(path.name for path in new.iterdir()) == ['meta', 'test', 'train']
    assert (sizes, len(site)) == ([12] * 4, ONE_DOWNLOAD)


def test_an_archive_in_place_is_unpacked_and_files_are_never_replaced(site, tmp_path):
    new = tmp_path / 'new' / 'cifar-100-python'
    new.mkdir(parents=True)
    shutil.copy(tmp_path / 'site' / 'cifar-100-python.tar.gz', new.parent)
    (new / 'test').write_text('mine')
    assert len(read(new, verify=True, download=False)) == 12
    assert (new / 'test').read_text() == 'mine'
    (new / 'train').unlink()  # a re-packed copy is not completed with official files
    with pytest.raises(FileNotFoundError, match='train is missing'):
        read(new, verify=False)
    assert site == []


def test_an_altered_archive_is_neither_unpacked_nor_kept(site, tmp_path):
    new = tmp_path / 'new' / 'cifar-100-python'
    archive = new.with_name('cifar-100-python.tar.gz')
    new.parent.mkdir()
    archive.write_bytes(b'half an archive')
    with pytest.raises(ValueError, match=r'tar\.gz \(15 bytes\) is not the official file: .* truncated, delete it'):
        read(new, verify=True)
    archive.unlink()
    CIFAR100.official.tgz_md5 = '0' * 32
    with pytest.raises(FileNotFoundError, match=r'The download failed: .*Put cifar-100-python\.tar\.gz from http'):
        read(new)
    assert not list(new.parent.glob('cifar*'))


def test_no_data_and_no_download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        CIFAR100(download=False)
    for part in ('turned off (download=False)', CIFAR100.official.url, str(tmp_path / 'data/cifar100')):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('is_main, error', [(False, 'train is missing; every machine'), (True, 'Put cifar-100-python')])
def test_the_first_process_prepares_and_releases_the_others(site, tmp_path, monkeypatch, is_main, error):
    barriers = []
    CIFAR100.official.url = 'http://127.0.0.1:9/cifar-100-python.tar.gz'
    monkeypatch.setattr(cifar, 'is_main_process', lambda: is_main)
    monkeypatch.setattr(cifar, 'barrier', lambda: barriers.append(1))
    with pytest.raises(FileNotFoundError, match=error):
        read(tmp_path / 'new' / 'cifar-100-python')
    assert barriers == [1]


WHOLE = pickle.dumps(content('train'))
REFUSED = [
    (b'', 'truncated or not a pickle'),
    (WHOLE[: len(WHOLE) // 2], 'truncated or not a pickle'),
    (pickle.dumps([1, 2]), 'truncated or not a pickle of a dict'),
    (pickle.dumps({'data': Calls(os.mkdir, 'ran')}), r'asks for posix\.mkdir\. Nothing of it was run'),
    (pickle.dumps({'data': Calls(np.fromfile, 'train', np.uint8)}), r'asks for numpy\S*\.fromfile'),
    (b'\x80\x04\x8c\x05numpy\x8c\x14ndarray.__subclasses\x93.', r'asks for numpy\.ndarray\.__subclasses'),
    (pickle.dumps({'data': Calls(__import__('codecs').encode, 'ran', 'rot13')}), "encodes text as 'rot13'"),
    # With numpy's own ndarray these bytes become a pointer, and whoever touches the array crashes.
    (pickle.dumps({'data': Calls(np.ndarray, (1,), 'O', b'x' * 8), 'fine_labels': [0]}), 'not a file of'),
    (pickle.dumps({'data': np.array([None, 'a'], object)}), 'cannot be read'),
    (pickle.dumps({'data': np.zeros((2, 3072), np.uint8), 'labels': [0, 1]}), 'of CIFAR100, .*, got data, labels: '),
    (pickle.dumps({**content('train'), 'data': [1, 2]}), r'got data, fine_labels: int64 \(2,\), int64 \(12,\)'),
    (pickle.dumps({**content('train'), 'data': np.zeros((12, 3072))}), 'fine_labels: float64'),
    (pickle.dumps({**content('train'), 'fine_labels': [0] * 11}), r', int64 \(11,\)'),
    (pickle.dumps({**content('train'), 'fine_labels': [0.0] * 12}), r'\), float64'),
    (pickle.dumps({**content('train'), 'fine_labels': [100] * 12}), r'labels must lie in 0 to 99'),
]


@pytest.mark.parametrize('raw, message', REFUSED, ids=range(len(REFUSED)))
def test_files_that_are_not_what_their_name_says(folder, monkeypatch, raw, message):
    monkeypatch.chdir(folder)
    (folder / 'train').write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        read(folder)
    assert not (folder / 'ran').exists()


def test_other_splits_and_checksums_are_refused(folder, monkeypatch):
    with pytest.raises(ValueError, match=r'md5 is .* re-packed copy that you trust is accepted .* verify=False'):
        CIFAR100(str(folder.parent))
    with pytest.raises(ValueError, match=r"split must be one of \['train', 'test'\], got 'val'"):
        CIFAR100(split='val')
    monkeypatch.setitem(cifar._SIZES, 'test', 12)
    with pytest.raises(ValueError, match="holds 12 images for 'train', which is the size of 'test'"):
        read(folder)


@pytest.mark.parametrize('names', [CIFAR100.categories[1:] + CIFAR100.categories[:1], CIFAR100.categories[:10], None])
def test_class_names_must_be_the_official_ones(folder, names):
    (folder / 'meta').write_bytes(pickle.dumps({'fine_label_names': names and list(names)}))
    with pytest.raises(ValueError, match='must list the 100 classes of CIFAR100 in their official order'):
        read(folder)
    (folder / 'meta').unlink()
    assert len(read(folder)) == 12
