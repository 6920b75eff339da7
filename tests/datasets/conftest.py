"""Folders in the official CIFAR-100 layout, and a web server of one's own."""

import io
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mmposenc.mm.datasets.cifar_archive import ARCHIVES, CIFARArchive
from mmposenc.mm.datasets.file_md5 import file_md5

SIZES = {'train': 12, 'test': 5}


def cifar100_content(split: str) -> dict:
    """Image i of a split is filled with i + 1 in train and 100 + i in test; its label is 3 * i."""
    first = {'train': 1, 'test': 100}[split]
    data = np.repeat(np.arange(first, first + SIZES[split], dtype=np.uint8)[:, None], 3072, axis=1)
    return {
        'data': data,
        'fine_labels': [3 * i for i in range(SIZES[split])],
        'batch_label': f'{split}ing batch 1 of 1',
    }


@pytest.fixture
def cifar100_root(tmp_path: Path) -> Path:
    """A data root with a tiny unpacked CIFAR-100, without the meta file."""
    folder = tmp_path / 'cifar100' / 'cifar-100-python'
    folder.mkdir(parents=True)
    for split in SIZES:
        (folder / split).write_bytes(pickle.dumps(cifar100_content(split)))
    return folder.parent


@pytest.fixture
def tarball(tmp_path: Path, cifar100_root: Path) -> Path:
    """The same as a .tar.gz under its official name, with members that must not be unpacked beside."""
    path = tmp_path / 'packed' / 'cifar-100-python.tar.gz'
    path.parent.mkdir()
    with tarfile.open(path, 'w:gz') as tar:
        tar.add(cifar100_root / 'cifar-100-python', 'cifar-100-python')
        for name in ('../outside', '/tmp/mmposenc-outside', 'cifar-100-python/extra'):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b'evil'))
    return path


@pytest.fixture
def tiny_archive(monkeypatch: pytest.MonkeyPatch, cifar100_root: Path, tarball: Path) -> CIFARArchive:
    """CIFAR-100's table entry, for this test, with the checksums of the tiny files; its address leads nowhere."""
    folder = cifar100_root / 'cifar-100-python'
    archive = replace(
        ARCHIVES['CIFAR100'],
        url='http://127.0.0.1:9/cifar-100-python.tar.gz',
        md5=file_md5(tarball),
        members={'train': file_md5(folder / 'train'), 'test': file_md5(folder / 'test'), 'meta': '0' * 32},
    )
    monkeypatch.setitem(ARCHIVES, 'CIFAR100', archive)
    return archive


@dataclass
class Site:
    """What the server serves, how it misbehaves, and what it was asked."""

    url: str = ''
    body: bytes = b''
    ranges: bool = True
    break_after: int | None = None  # bytes sent in the next answer before the line goes dead
    asked: list[str | None] = field(default_factory=list)  # the Range header of every request


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web server on this machine."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get('Range')
            site.asked.append(wanted)
            start = int(wanted.removeprefix('bytes=').rstrip('-')) if wanted and site.ranges else 0
            if start and start >= len(site.body):
                return self.send_error(416)
            body = site.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header('Content-Range', f'bytes {start}-{len(site.body) - 1}/{len(site.body)}')
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body[: site.break_after])
            site.break_after = None

        def log_message(self, format: str, *args: object) -> None:
            """Keeps quiet."""

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    site.url = f'http://127.0.0.1:{server.server_port}/cifar-100-python.tar.gz'
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def served(
    monkeypatch: pytest.MonkeyPatch, site: Site, tarball: Path, tiny_archive: CIFARArchive
) -> Callable[[], CIFARArchive]:
    """Puts the tiny archive on the server and its address into the table."""

    def serve() -> CIFARArchive:
        site.body = tarball.read_bytes()
        archive = replace(tiny_archive, url=site.url)
        monkeypatch.setitem(ARCHIVES, 'CIFAR100', archive)
        return archive

    return serve
