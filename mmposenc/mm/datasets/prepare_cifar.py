"""Brings the files of a CIFAR split to where the data set reads them."""

import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import IO

from mmposenc.mm.datasets.cifar_archive import ARCHIVES, CIFARArchive
from mmposenc.mm.datasets.file_md5 import file_md5
from mmposenc.mm.datasets.resumable_download import resumable_download

__all__ = ['check_md5', 'prepare_cifar']

_MOST_BYTES = 2**30  # the official archives unpack to 186 MB


def prepare_cifar(archive: CIFARArchive, data_root: Path, split: str, verify: bool, download: bool) -> None:
    """Sees to it that the files of a split lie unpacked under `data_root` (ours).

    In this order: the unpacked files, the .tar.gz beside them, the network. Files that are there are never replaced.

    Raises:
        FileNotFoundError: If there are no data and none can be had; says which file to put where.
        ValueError: If the .tar.gz is not the official one, is broken, or lacks a file.
    """
    folder, tarball = data_root / archive.folder, data_root / archive.filename
    if all((folder / name).is_file() for name in archive.splits[split]):
        return
    if tarball.is_file():
        if verify:
            check_md5(tarball, archive.md5)
        else:
            _check_sums(tarball)
    elif download:
        try:
            resumable_download(archive.url, tarball, archive.md5)
        except ConnectionError as error:
            raise _no_data(archive, data_root, split, f'The download failed: {error}.') from error
    else:
        raise _no_data(archive, data_root, split, 'Downloading is switched off (download=False).')
    _extract(tarball, archive, folder)


def check_md5(path: Path, md5: str) -> None:
    """Refuses a file that is not the official one (ours).

    Raises:
        ValueError: If the checksum differs; names the official file that it is instead, if it is one.
    """
    got = file_md5(path)
    if got == md5:
        return
    known = {known_md5: f'{a.name} {name}' for a in ARCHIVES.values() for name, known_md5 in a.members.items()}
    guess = f'it is the official file of {known[got]}' if got in known else 'it is truncated, altered or re-packed'
    raise ValueError(
        f'{path} ({path.stat().st_size} bytes) is not the official file: its md5 is {got}, expected {md5}; {guess}. '
        'If it is a re-packed copy that you trust, verify=False accepts it; otherwise delete it, and the official one '
        'is downloaded.'
    )


def _no_data(archive: CIFARArchive, data_root: Path, split: str, why: str) -> FileNotFoundError:
    root = data_root.absolute()
    return FileNotFoundError(
        f'no {archive.name} data in {root}. {why} Put {archive.filename} from {archive.url} there (it becomes '
        f'{root / archive.filename}), or its unpacked folder, so that '
        f'{root / archive.folder / archive.splits[split][0]} exists.'
    )


def _check_sums(tarball: Path) -> None:
    """Refuses an archive that does not unpack to what was packed, before anything of it is kept."""
    size = 0
    try:
        with gzip.open(tarball) as file:
            while size <= _MOST_BYTES and (block := file.read(1 << 20)):
                size += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _broken(tarball, error) from error
    if size > _MOST_BYTES:
        raise ValueError(f'{tarball} unpacks to more than {_MOST_BYTES} bytes; do not trust this archive')


def _extract(tarball: Path, archive: CIFARArchive, folder: Path) -> None:
    """Unpacks the expected files alone, each to a temporary name first; paths in the archive decide nothing."""
    wanted = {f'{archive.folder}/{name}': name for name in archive.members if not (folder / name).exists()}
    try:
        with tarfile.open(tarball, 'r:gz') as tar:
            for member in tar:
                name = wanted.pop(member.name.removeprefix('./'), None)
                if name is None:
                    continue
                source = tar.extractfile(member) if member.isreg() and member.size <= _MOST_BYTES else None
                if source is None:
                    raise tarfile.TarError(f'{member.name} must be an ordinary file; do not trust this archive')
                _write(source, folder / name)
    except gzip.BadGzipFile as error:
        raise _broken(tarball, error) from error
    except OSError:
        raise
    except Exception as error:  # a broken archive fails in whatever way its bytes happen to spell
        raise _broken(tarball, error) from error
    missing = [path for path, name in wanted.items() if name != archive.meta]
    if missing:
        raise ValueError(f'{tarball} lacks {", ".join(missing)}: it is not the archive of {archive.name}')


def _broken(tarball: Path, error: Exception) -> ValueError:
    return ValueError(f'{tarball} is truncated or not a .tar.gz ({error!s:.200}); delete it and fetch it again')


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    part = target.with_name(target.name + '.part')
    try:
        with part.open('wb') as file:
            shutil.copyfileobj(source, file)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
