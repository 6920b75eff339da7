"""What to say of faults that are nobody's mistake: a full disk, a worker that was killed, a process that is gone."""

import errno
import re

from torch import distributed

__all__ = ['explain_fault']


def explain_fault(error: Exception) -> str | None:
    """One sentence about the fault and what to do, None for anything else (ours)."""
    text = ' '.join(str(error).split())
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if 'make room' in text:
            return text
        return (
            f'{text}: the disk or the quota is full. What was written whole before is whole: make room and give the '
            'same command again, for a training with --resume'
        )
    if worker := _lost_worker(error):
        return (
            f'{worker}; if nobody killed it, memory ran out: give smaller batches or fewer workers (num_workers). '
            'A training goes on with --resume'
        )
    lost = isinstance(error, distributed.DistError) or 'gloo/transport' in text
    if isinstance(error, RuntimeError) and lost:
        reason = re.sub(r'^\[\S+\] ', '', text)[:200]
        return (
            f'another process of this run has ended or does not answer ({reason}); its own output says why. '
            'A training goes on with --resume'
        )
    return None


def _lost_worker(error: BaseException | None) -> str | None:
    """PyTorch raises it from a signal, so in the middle of anything, which may raise an error of its own about it."""
    while error is not None:
        text = ' '.join(str(error).split())
        if isinstance(error, RuntimeError) and text.startswith('DataLoader worker (pid'):
            return text.rstrip('.')
        error = error.__cause__ or error.__context__
    return None
