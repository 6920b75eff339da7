"""Turns the unpacked files of a CIFAR split into tensors, and refuses files that are not what their name says."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmposenc.mm.datasets.cifar_archive import ARCHIVES, CIFARArchive
from mmposenc.mm.datasets.file_md5 import file_md5
from mmposenc.mm.datasets.prepare_cifar import check_md5
from mmposenc.mm.datasets.restricted_pickle import load_data_pickle

__all__ = ['read_cifar_split']


def read_cifar_split(archive: CIFARArchive, folder: Path, split: str, verify: bool) -> tuple[Tensor, Tensor]:
    """Reads one split (ours).

    Args:
        archive: What the files should be.
        folder: The unpacked folder.
        split: 'train' or 'test'.
        verify: Compare each file's md5 with the official one before it is unpickled. Without it, images of the right
            shape and type and labels in range are accepted.

    Shape:
        Images (N, 3, 32, 32), uint8; labels (N,), int64.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a file is truncated, swapped, altered, hostile, or its content does not fit.
    """
    paths = [folder / name for name in archive.splits[split]]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} of {archive.name} is missing. On several machines, each needs the data at this path.'
            )
    if not verify:
        _check_no_twins(folder, archive)
    images, labels = zip(*(_read_file(archive, path, split, verify) for path in paths), strict=True)
    num_images = sum(map(len, images))
    for other, size in archive.split_sizes.items():
        if other != split and num_images == size:
            raise ValueError(f'{folder} holds {num_images} images for {split!r}: this is the size of {other!r}')
    _check_classes(archive, folder / archive.meta, verify)
    # Concatenating makes the one copy that stays; the bytes that were read go when this function returns.
    return torch.from_numpy(np.concatenate(images)).view(-1, 3, 32, 32), torch.from_numpy(np.concatenate(labels))


def _read_file(archive: CIFARArchive, path: Path, split: str, verify: bool) -> tuple[np.ndarray, np.ndarray]:
    if verify:
        check_md5(path, archive.members[path.name])
    content = load_data_pickle(path, known=verify)
    if 'data' not in content or archive.labels_key not in content:
        likely = [a.name for a in ARCHIVES.values() if a.labels_key in content]
        raise ValueError(
            f"{path} must hold 'data' and '{archive.labels_key}' to be a file of {archive.name}, got {sorted(content)}"
            + (f': it looks like {likely[0]}' if likely else '')
        )
    named = _decoded(content.get('batch_label', ''))
    other = {'train': 'testing', 'test': 'training'}[split]
    if other in named:
        raise ValueError(f'{path} should belong to {split!r}, but it calls itself {named!r}')
    images = content['data']
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (3072,):
        got = f'{images.dtype} {images.shape}' if isinstance(images, np.ndarray) else type(images).__name__
        raise ValueError(f"'data' in {path} must be uint8 of shape (n, 3072), got {got}")
    return images, _labels(content[archive.labels_key], len(images), len(archive.classes), path)


def _labels(values: Any, num_images: int, num_classes: int, path: Path) -> np.ndarray:
    if isinstance(values, list) and not all(type(value) is int for value in values):
        raise ValueError(f'labels in {path} must be integers, got {next(v for v in values if type(v) is not int)!r}')
    labels = np.asarray(values)
    if labels.shape != (num_images,) or num_images == 0 or labels.dtype.kind not in 'iu':
        raise ValueError(
            f'labels in {path} must be one integer for each of its images (at least one); '
            f'got {labels.dtype} {labels.shape} for {num_images} images'
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f'labels in {path} must lie in 0 to {num_classes - 1}, got values from {labels.min()} to {labels.max()}'
        )
    return labels.astype(np.int64)


def _check_no_twins(folder: Path, archive: CIFARArchive) -> None:
    """Without official checksums, one file under two names is the swap that can still be told for sure."""
    by_size: dict[int, list[Path]] = {}
    for path in (folder / name for files in archive.splits.values() for name in files):
        if path.is_file():
            by_size.setdefault(path.stat().st_size, []).append(path)
    for paths in by_size.values():
        seen: dict[str, Path] = {}
        for path in paths if len(paths) > 1 else ():
            twin = seen.setdefault(file_md5(path), path)
            if twin is not path:
                raise ValueError(f'{twin} and {path} are the same file; one of them has been swapped')


def _check_classes(archive: CIFARArchive, meta: Path, verify: bool) -> None:
    """The names are known; the meta file, where there is one, must agree with them."""
    if not meta.is_file():
        return
    if verify:
        check_md5(meta, archive.members[meta.name])
    names = load_data_pickle(meta, known=verify).get(archive.classes_key)
    got = tuple(_decoded(name) for name in names) if isinstance(names, list) else names
    if got != archive.classes:
        raise ValueError(
            f"'{archive.classes_key}' in {meta} must list the {len(archive.classes)} classes of {archive.name} in "
            f'their official order, got {got!r:.200}: with another order the labels mean other things'
        )


def _decoded(value: Any) -> str:
    return value.decode('latin1') if isinstance(value, bytes) else str(value)
