"""One run at a time in a folder."""

import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

__all__ = ['lock_folder']

LOCK = '.lock'


@contextmanager
def lock_folder(folder: str | Path, instead: str) -> Iterator[None]:
    """Keep other runs out of a folder while the block runs (ours).

    The lock is the process's own: it is gone when the process ends, however that happens, and processes that it starts
    do not have it. The file beside it only says who holds it. Where the file system knows no locks, a warning says so.

    Args:
        folder: Made if it is not there.
        instead: What a user can give to have another folder, such as '--work-dir'.

    Raises:
        ValueError: If another process holds the lock.
    """
    path = Path(folder, LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _hold(path, instead)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _hold(path: Path, instead: str) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                warnings.warn(f'{path.parent} cannot be locked ({error}): start no second run in it', stacklevel=4)
                return file
            holder = os.read(file, 1000).decode(errors='replace') or 'a process that has just started'
            os.close(file)
            raise ValueError(
                f'another run works in {path.parent} ({holder}): wait for its end, or give this one another {instead}'
            ) from None
        if _is_at(path, file):
            os.ftruncate(file, 0)
            started = datetime.now().astimezone().isoformat(timespec='seconds')
            os.write(file, f'pid {os.getpid()} on {socket.gethostname()}, started {started}'.encode())
            return file
        os.close(file)  # Its holder took it away between the two calls.


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
