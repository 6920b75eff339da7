"""Whatever ends a command ends it with one line; the traceback is shown when it is asked for."""

import errno
import gc
import logging
import os
import re
import sys
from collections.abc import Callable

_STACK = ('mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'cv2', 'rich')
_OTHERS = {'torchvision': 'torchvision', 'timm': 'timm', 'PIL': 'pillow', 'sklearn': 'scikit-learn'}
_PLAIN = (ValueError, TypeError, OSError, ImportError)  # whose message says enough
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, 'EDQUOT', errno.ENOSPC))


def run(main: Callable[[], None], traceback: bool = False) -> None:
    """Run a command; an error ends it with one line and exit status 1, or the traceback where that is asked for."""
    traceback = traceback or os.environ.get('MMPOSENC_TRACEBACK') == '1'
    # Where the disk is full, every line of the log would bring a traceback of its own.
    logging.raiseExceptions = traceback
    try:
        main()
    except KeyboardInterrupt:
        print('\nstopped; a training resumes from its last checkpoint with --resume', file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # Whoever read the output, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if traceback:
            raise
        print(f'error: {one_line(error)}', file=sys.stderr)
        raise SystemExit(1) from None
    except SystemExit:
        _leave_together()  # A training that was told to stop, in all its processes.
        raise
    _leave_together()


def one_line(error: Exception) -> str:
    """What went wrong, and what to do where that is known."""
    text = ' '.join(str(error).split())
    if isinstance(error, OSError) and error.errno in _FULL and 'make room' not in text:
        advice = 'make room and give the same command again, for a training with --resume'
        return f'{text}: the disk or the quota is full. Files written before are whole: {advice}'
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'{error.filename} does not exist; check the path (of a data set: data_root in its config)'
    cause: BaseException | None = error
    while cause is not None:  # PyTorch raises it from a signal, so in the middle of anything.
        if isinstance(cause, RuntimeError) and str(cause).startswith('DataLoader worker (pid'):
            advice = 'give smaller batches or fewer workers (num_workers). A training resumes with --resume'
            return f'{str(cause).strip().rstrip(".")}; if nobody killed it, memory ran out: {advice}'
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, RuntimeError) and (type(error).__name__.startswith('Dist') or 'gloo/transport' in text):
        reason = re.sub(r'^\[\S+\] ', '', text)[:200]
        advice = 'its own output says why. A training resumes with --resume'
        return f'another process of this run has ended or does not answer ({reason}); {advice}'
    missing = str(error.name).partition('.')[0] if isinstance(error, ModuleNotFoundError) else ''
    if missing in _OTHERS and 'install' not in text:
        return f'{text}; run: pip install {_OTHERS[missing]}'
    if missing in _STACK:
        official = "'mmposenc[openmmlab]', the official distributions, in an environment of its own"
        return f"{text}: this command needs the OpenMMLab stack, pip install 'mmposenc[onedl]' (or {official})"
    if isinstance(error, KeyError) and error.args and ' ' in str(error.args[0]):
        text = ' '.join(str(error.args[0]).split())  # a sentence, as the registries give it
    elif 'Original Traceback' in text:  # of a worker process, whose last line says what happened
        text = str(error).rstrip().splitlines()[-1]
    elif not isinstance(error, _PLAIN):
        text = f'{type(error).__name__}: {text:.350} (--traceback shows where)'
    text = text or type(error).__name__
    return text if len(text) <= 700 else f'{text[:700]} ...'


def _leave_together() -> None:
    """End the process group: a process that leaves while another talks to it may abort."""
    distributed = sys.modules.get('torch.distributed')
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        gc.collect()  # The wrapped model keeps the group's threads alive.
        distributed.barrier()
        distributed.destroy_process_group()
