"""One process at a time in a folder; the lock goes with its process, whatever ends it."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmposenc.host import work_dir_lock
from mmposenc.host.work_dir_lock import lock_folder

ROOT = Path(__file__).parents[1]
HOLD = """if True:
    import os, sys, time
    from mmposenc.host.work_dir_lock import lock_folder
    with lock_folder(sys.argv[1], '--x'):
        if os.fork() == 0:  # as a worker of a data loader, which may outlive its parent for seconds
            time.sleep(60)
        print('held', flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that holds the lock, with a child."""
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path / 'work')],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == b'held\n'
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_second_is_told_who_is_there_until_the_first_ends(tmp_path: Path, other: subprocess.Popen) -> None:
    folder = tmp_path / 'work'
    holder = rf'pid {other.pid} on {re.escape(socket.gethostname())}, started 20\d\d-\S+'
    with pytest.raises(ValueError, match=rf'another run works in {folder} \({holder}\): .* this one another --out$'):
        lock_folder(folder, '--out').__enter__()
    with lock_folder(tmp_path / 'elsewhere', '--out'):
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (folder / '.lock').exists()
    with lock_folder(folder, '--out'):
        assert f'pid {os.getpid()} on' in (folder / '.lock').read_text()
        assert str(other.pid) not in (folder / '.lock').read_text()
    assert list(folder.iterdir()) == []


def test_an_exception_frees_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match='inside'), lock_folder(tmp_path / 'deep' / 'er', '--out'):
        raise RuntimeError('inside')
    assert list((tmp_path / 'deep' / 'er').iterdir()) == []


def test_a_file_that_its_holder_took_away_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other removes its file after this one has opened it: the lock is on the file that is there."""
    lockf, calls = fcntl.lockf, []

    def too_late(file: int, how: int) -> None:
        if not calls:
            (tmp_path / '.lock').unlink()
        calls.append(file)
        lockf(file, how)

    monkeypatch.setattr(work_dir_lock.fcntl, 'lockf', too_late)
    with lock_folder(tmp_path, '--out'):
        assert len(calls) == 2
        assert (tmp_path / '.lock').read_text().startswith(f'pid {os.getpid()} on')


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(work_dir_lock.fcntl, 'lockf', refuse)
    entered = []
    with pytest.warns(UserWarning, match='cannot be locked .*No locks available.*start no second run in it'):  # noqa: SIM117
        with lock_folder(tmp_path, '--out'):
            entered.append(True)
    assert entered == [True]
