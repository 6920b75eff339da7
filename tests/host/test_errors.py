"""One line for anything that goes wrong, a traceback when it is asked for, and no process left behind."""

import errno
import shlex
import subprocess
import sys
from contextlib import nullcontext

import pytest
from torch import distributed

from mmposenc.host.errors import one_line, run

GLOO = '[/a/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:80: Connection reset by peer.'
WORKER = 'DataLoader worker (pid 7) is killed by signal: Killed. '
STACK = "this command needs the OpenMMLab stack, pip install 'mmposenc[onedl]'"
FULL = 'the disk or the quota is full. Files written before are whole'
MEMORY = 'DataLoader worker (pid 7) is killed by signal: Killed; if nobody killed it, memory ran'
GONE = 'another process of this run has ended or does not answer'
CAUGHT = (
    'Caught ValueError in worker.\nOriginal Traceback (most recent call last):\n  File "a.py"\nValueError: no image'
)


def failure(error: BaseException) -> None:
    raise error


def behind(error: Exception, cause: Exception) -> Exception:
    error.__context__ = KeyError('a')
    error.__context__.__cause__ = cause
    return error


@pytest.mark.parametrize(
    'error, line',
    [
        (ValueError('grid_size must be at least 2,\n  got 1'), 'grid_size must be at least 2, got 1'),
        (
            FileNotFoundError(2, 'No such file', 'a.pth'),
            'a.pth does not exist; check the path (of a data set: data_root in its config)',
        ),
        (OSError(), 'OSError'),
        (KeyError('NoHook is not in the hook registry.\n  Check it'), 'NoHook is not in the hook registry. Check it'),
        (KeyError('left'), "KeyError: 'left' (--traceback shows where)"),
        (AssertionError(), 'AssertionError:  (--traceback shows where)'),
        (RuntimeError('a bug'), 'RuntimeError: a bug (--traceback shows where)'),
        (ValueError(CAUGHT), 'ValueError: no image'),
        (ModuleNotFoundError("No module named 'own'", name='own'), "No module named 'own'"),
        (ModuleNotFoundError("No module named 'timm'", name='timm'), "No module named 'timm'; run: pip install timm"),
        (ModuleNotFoundError("No module named 'mmengine'", name='mmengine'), f"No module named 'mmengine': {STACK}"),
        (OSError(errno.ENOSPC, 'Full', 'a.csv'), f"[Errno {errno.ENOSPC}] Full: 'a.csv': {FULL}"),
        (OSError(errno.EFBIG, 'a.pth: make room'), f'[Errno {errno.EFBIG}] a.pth: make room'),
        (RuntimeError(WORKER), MEMORY),
        (behind(SyntaxError('Failed to format'), RuntimeError(WORKER)), MEMORY),
        (RuntimeError(GLOO), f'{GONE} (Read error [127.0.0.1]:80: Connection reset'),
        (distributed.DistBackendError('NCCL'), f'{GONE} (NCCL); its own output says why'),
    ],
)
def test_what_a_person_reads(error: Exception, line: str) -> None:
    found = one_line(error)
    assert found.startswith(line)
    assert found == line or len(line) > 60, 'short lines are given in full'
    assert '\n' not in found


def test_an_error_ends_the_command_and_its_traceback_can_be_asked_for(capsys, monkeypatch) -> None:
    for error in (ValueError('word ' * 1000), KeyError('bug')):
        with pytest.raises(SystemExit) as info:
            run(lambda error=error: failure(error))
        assert info.value.code == 1
        line = capsys.readouterr().err
        assert line.startswith('error: ')
        assert line.count('\n') == 1
        assert len(line) < 750
        with pytest.raises(type(error)):
            run(lambda error=error: failure(error), traceback=True)
    monkeypatch.setenv('MMPOSENC_TRACEBACK', '1')
    with pytest.raises(KeyError):
        run(lambda: failure(KeyError('bug')))


def test_an_interrupted_run_says_how_to_resume(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as info:
        run(lambda: failure(KeyboardInterrupt()))
    assert info.value.code == 130
    assert 'stopped; a training resumes from its last checkpoint with --resume' in capsys.readouterr().err


@pytest.mark.parametrize('status', [0, 143])  # 143 as a training that was told to stop
def test_the_process_group_is_taken_down(tmp_path: object, status: int) -> None:
    def main() -> None:
        distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/meet', rank=0, world_size=1)
        if status:
            raise SystemExit(status)

    with pytest.raises(SystemExit) if status else nullcontext() as info:
        run(main)
    assert not status or info.value.code == status
    assert not distributed.is_initialized()


def test_a_reader_that_closes_the_pipe_hears_nothing():
    script = "from mmposenc.host import errors; errors.run(lambda: print('line\\n' * 100000))"
    piped = f'{shlex.quote(sys.executable)} -c {shlex.quote(script)} | head -1'
    done = subprocess.run(['bash', '-c', piped], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ('line\n', '')
