"""The lock of a folder, and the lines that a run says and ends with."""

import errno
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

from mmposenc.cli.common import lock, report, say

ALONE = SimpleNamespace(launcher='none')


def test_one_run_at_a_time_in_a_folder_until_it_ends_or_fails(tmp_path: Path) -> None:
    folder = tmp_path / 'deep' / 'er'
    with pytest.raises(ZeroDivisionError), lock(ALONE, folder, '--out'):  # noqa: PT012
        with pytest.raises(
            ValueError, match=rf'another run works in {folder} \(pid \d+ on .*, started .*another --out$'
        ):
            lock(ALONE, folder, '--out').__enter__()
        1 / 0  # noqa: B018
    assert not folder.parent.exists(), 'nothing stays of a run that wrote nothing'
    tmp_path.joinpath('a.txt').touch()
    with lock(ALONE, folder, '--out'), lock(ALONE, tmp_path, '--out'):
        assert (folder / '.lock.txt').read_text().startswith('pid ')
        (folder / 'b.txt').touch()
    assert (folder / 'b.txt').exists()
    assert (tmp_path / 'a.txt').exists()
    assert not (folder / '.lock.txt').exists()
    (tmp_path / 'own').mkdir()
    with lock(ALONE, tmp_path / 'own', '--out'):
        pass
    assert list((tmp_path / 'own').iterdir()) == [], 'a folder that was there stays'


def test_the_first_process_locks_and_speaks_for_all(tmp_path: Path, monkeypatch, capsys) -> None:
    together = SimpleNamespace(launcher='slurm')
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('SLURM_PROCID', '1')
    with lock(ALONE, tmp_path, '--out'), lock(together, tmp_path, '--out'):
        say('second')
    monkeypatch.setenv('SLURM_PROCID', '0')
    with lock(ALONE, tmp_path, '--out'), pytest.raises(ValueError, match='another run works in'):
        lock(together, tmp_path, '--out').__enter__()
    say('first')
    assert capsys.readouterr().out == 'first\n'


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch, capsys) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(filelock.FileLock, 'acquire', refuse)
    with lock(ALONE, tmp_path, '--out'):
        assert 'cannot be locked ([Errno 37] No locks available): start no' in capsys.readouterr().out


def test_the_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    Path('a.pth').touch()
    report({'mIoU': 71.23456, 'name': 'x', 'images': 4}, str(tmp_path / 'a.pth'))
    report({}, None)
    assert capsys.readouterr().out == (
        'done: mIoU 71.23, images 4; checkpoint: a.pth\ndone: no figures; checkpoint: none\n'
    )
