"""One sentence for a fault, and none for a bug."""

import errno

import pytest
from torch import distributed

from mmposenc.host.fault_messages import explain_fault

GLOO = '[/a/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:80: Connection reset by peer.'
LOST = 'another process of this run has ended or does not answer ('


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_what_is_safe(number: int) -> None:
    text = explain_fault(OSError(number, 'Full', 'a.csv'))
    assert text.startswith(f"[Errno {number}] Full: 'a.csv': the disk or the quota is full. What was written whole")
    assert text.endswith('make room and give the same command again, for a training with --resume')


def test_what_says_it_already_stays() -> None:
    said = 'No space left: a.pth was not saved: make room and go on with --resume'
    assert explain_fault(OSError(errno.ENOSPC, said)) == f'[Errno {errno.ENOSPC}] {said}'


def test_a_lost_worker_is_found_behind_the_error_that_it_caused() -> None:
    lost = RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')
    behind = SyntaxError('Failed to format the config file')
    behind.__context__ = KeyError('a')
    behind.__context__.__cause__ = lost
    for error in (lost, behind):
        text = explain_fault(error)
        assert text.startswith('DataLoader worker (pid 7) is killed by signal: Killed; if nobody killed it, memory ran')


def test_a_lost_process() -> None:
    assert explain_fault(RuntimeError(GLOO)).startswith(f'{LOST}Read error [127.0.0.1]:80: Connection reset by peer.)')
    assert explain_fault(distributed.DistBackendError('NCCL error')).startswith(f'{LOST}NCCL error)')


@pytest.mark.parametrize(
    'error', [RuntimeError('bug'), ValueError('DataLoader worker (pid 1)'), OSError(errno.ENOENT, 'no'), KeyError('a')]
)
def test_nothing_else_is_a_fault(error: Exception) -> None:
    assert explain_fault(error) is None
