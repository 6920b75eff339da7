"""CIFAR-10 and CIFAR-100 in memory."""

import os
import pickle
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
import torchvision
from filelock import FileLock
from mmengine.dist import barrier, is_main_process
from mmpretrain.datasets.categories import CIFAR10_CATEGORIES, CIFAR100_CATEGORIES
from torchvision.datasets.utils import calculate_md5, download_url, extract_archive

from mmposenc.mm.datasets.in_memory import InMemoryImages
from mmposenc.registry import DATASETS

_SIZES = {'train': 50_000, 'test': 10_000}


@DATASETS.register_module()
class CIFAR10(InMemoryImages):
    """CIFAR-10 in memory, one uint8 tensor per split (Table 1, Table 2).

    Reads `cifar-10-batches-py/` under `data_root`, or unpacks `cifar-10-python.tar.gz` there, or downloads that, in the
    first process only. Files that exist are never replaced, and none can run code.

    Args:
        data_root: Folder that holds the unpacked folder. Default: data/cifar10, below the working directory.
        split: 'train' (50,000 images) or 'test' (10,000).
        indices, fraction: As in `InMemoryImages`, which also says what a batch is.
        verify: Compare the md5 of every file with the official one. False accepts a re-packed copy of the same layout.
        download: Download the archive when there is no data.
    """

    official: ClassVar[type[torchvision.datasets.CIFAR10]] = torchvision.datasets.CIFAR10
    categories: ClassVar[Sequence[str]] = CIFAR10_CATEGORIES
    labels_key: ClassVar[str] = 'labels'

    def __init__(
        self,
        data_root: str | None = None,
        split: str = 'train',
        indices: int | Sequence[int] | None = None,
        fraction: float | None = None,
        verify: bool = True,
        download: bool = True,
    ) -> None:
        if split not in _SIZES:
            raise ValueError(f'split must be one of {list(_SIZES)}, got {split!r}')
        name, meta = self.official.__name__, self.official.meta
        root = Path(f'data/{name.lower()}' if data_root is None else data_root).expanduser()
        folder = root / self.official.base_folder
        members = dict(self.official.train_list if split == 'train' else self.official.test_list)
        try:
            if is_main_process() and (verify or not folder.exists()):
                _prepare(self.official, root, list(members), download)
        finally:  # the others must not wait for ever when the first process fails
            barrier()
        read = [self._read(folder / member, md5 if verify else None) for member, md5 in members.items()]
        images, labels = (np.concatenate(parts) for parts in zip(*read, strict=True))
        (other,) = _SIZES.keys() - {split}
        if len(images) == _SIZES[other]:
            raise ValueError(f'{folder} holds {len(images)} images for {split!r}, which is the size of {other!r}')
        if (path := folder / meta['filename']).is_file():  # in another order labels mean other things
            names = _load(path, meta['md5'] if verify else None).get(meta['key'])
            if list(names or ()) != list(self.categories):
                order = f'the {len(self.categories)} classes of {name} in their official order'
                raise ValueError(f'{meta["key"]!r} in {path} must list {order}, got {names!r:.200}')
        images_nchw = torch.from_numpy(images).view(-1, 3, 32, 32)
        super().__init__(images_nchw, torch.from_numpy(labels), self.categories, indices, fraction)

    def _read(self, path: Path, md5: str | None) -> tuple[np.ndarray, np.ndarray]:
        content = _load(path, md5)
        images, labels = (np.asarray(content.get(key, ())) for key in ('data', self.labels_key))
        is_right = images.dtype == np.uint8 and images.shape[1:] == (3072,) and labels.dtype.kind in 'iu'
        if not is_right or labels.shape != images.shape[:1]:
            form = f"'data' (n, 3072) of uint8 and {self.labels_key!r} (n,) of integers"
            got = f'{", ".join(map(str, content))}: {images.dtype} {images.shape}, {labels.dtype} {labels.shape}'
            raise ValueError(f'{path} is not a file of {self.official.__name__}, with {form}, got {got}')
        return images, labels.astype(np.int64)


@DATASETS.register_module()
class CIFAR100(CIFAR10):
    """CIFAR-100 in memory, as `CIFAR10`, with its 100 fine classes and `data_root` data/cifar100 (Table 2)."""

    official = torchvision.datasets.CIFAR100
    categories = CIFAR100_CATEGORIES
    labels_key = 'fine_labels'


def _prepare(official: type[torchvision.datasets.CIFAR10], root: Path, members: list[str], download: bool) -> None:
    """Unpack the official archive below `root`, where it is or from the network; each file appears whole or not."""
    folder, archive = root / official.base_folder, root / official.filename
    if all((folder / member).is_file() for member in members):
        return
    advice = f'Put {official.filename} from {official.url} there, or its unpacked folder with all its files.'
    missing = f'no {official.__name__} data in {root.absolute()}.'
    if not archive.is_file() and not download:
        raise FileNotFoundError(f'{missing} Downloading is turned off (download=False). {advice}')
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f'.{official.filename}.lock'), TemporaryDirectory(dir=root, prefix='.unpack_') as temporary:
        if not archive.is_file():
            try:
                download_url(official.url, temporary, official.filename, official.tgz_md5)
            except (OSError, HTTPException, RuntimeError) as error:
                raise FileNotFoundError(f'{missing} The download failed: {error}. {advice}') from error
            os.replace(Path(temporary, official.filename), archive)
        _check_md5(archive, official.tgz_md5)
        extract_archive(str(archive), temporary)
        folder.mkdir(exist_ok=True)
        for path in Path(temporary, official.base_folder).iterdir():
            if not (folder / path.name).exists():
                os.replace(path, folder / path.name)


def _check_md5(path: Path, md5: str) -> None:
    if (got := calculate_md5(path)) != md5:
        advice = 'If truncated, delete it; a re-packed copy that you trust is accepted unpacked, with verify=False'
        fault = f'({path.stat().st_size} bytes) is not the official file: its md5 is {got}, expected {md5}'
        raise ValueError(f'{path} {fault}. {advice}')


def _load(path: Path, md5: str | None) -> dict[Any, Any]:
    """The dict of arrays, lists and text in a pickle of Python 2 or 3; nothing that it asks for is run."""
    if not path.is_file():
        raise FileNotFoundError(f'{path.absolute()} is missing; every machine needs the data at this path')
    if md5 is not None:
        _check_md5(path, md5)
    try:
        with path.open('rb') as file:
            content = _DataUnpickler(file, encoding='latin1').load()
        return {key: value.array if isinstance(value, _Array) else value for key, value in content.items()}
    except _ForbiddenError as error:
        raise ValueError(f'{path} is not plain data: {error}. Nothing of it was run. Do not trust this file') from None
    except OSError:
        raise
    except Exception as error:  # a broken pickle fails in whatever way its bytes happen to spell
        reason = f'{type(error).__name__}: {error}'
        raise ValueError(f'{path} cannot be read: it is truncated or not a pickle of a dict ({reason})') from error


class _ForbiddenError(Exception):
    """A pickle asks for something other than data."""


class _Dtype:
    """Stands for a numpy dtype. numpy's own would let a pickle describe pointers."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, '='

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def read(self, raw: bytes | str) -> np.ndarray:
        return np.frombuffer(raw.encode('latin1') if isinstance(raw, str) else raw, f'{self.order}{self.code}')


class _Array:
    """Stands for a numpy array, whose state arrives later."""

    def __init__(self, *_: Any) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.array = dtype.read(raw).reshape(shape, order='F' if is_fortran else 'C')


def _encode(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':  # how pickle writes bytes in the older protocols; other codecs do more
        raise _ForbiddenError(f'it encodes text as {encoding!r}')
    return text.encode('latin1')


_ALLOWED: dict[str, Callable] = {
    'numpy.ndarray': _Array,
    'numpy.dtype': _Dtype,
    '_codecs.encode': _encode,
    'numpy.core.multiarray._reconstruct': _Array,
    'numpy.core.multiarray.scalar': lambda dtype, raw: dtype.read(raw)[0].item(),
    'numpy.core.numeric._frombuffer': lambda raw, dtype, shape, order: dtype.read(raw).reshape(shape, order=order),
}


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable:
        found = _ALLOWED.get(f'{module}.{name}'.replace('numpy._core.', 'numpy.core.', 1))  # numpy 2 renamed it
        if found is None:
            raise _ForbiddenError(f'it asks for {module}.{name}')
        return found
