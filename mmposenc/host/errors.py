"""A user's mistake ends a tool with one line, not with a traceback (ours)."""

import gc
import logging
import os
import sys
from collections.abc import Callable
from traceback import walk_tb

from mmengine.config.utils import ConfigParsingError
from torch import distributed

from mmposenc.host.fault_messages import explain_fault

__all__ = ['run']

USER_ERRORS = (ValueError, TypeError, OSError, ImportError, ConfigParsingError)
_LONGEST = 700
# Module and beginnings of functions below which an error is of what the config, a checkpoint or the data say.
_SOURCES = (
    ('mmengine.runner.runner', ('from_cfg', 'build_'), 'a run cannot be built as the config says'),
    ('mmengine.runner.runner', ('resume',), 'training cannot go on from the checkpoint'),
    ('mmengine.model', ('train_step', 'val_step', 'test_step'), 'the model of the config fails on a batch'),
    ('mmengine.evaluator', ('process', 'evaluate'), 'the evaluator of the config fails'),
    ('torch.utils.data.dataloader', ('__next__',), 'the data loader of the config fails'),
    ('torch.utils.data._utils.fetch', ('fetch',), 'the data set of the config fails on an image'),
    ('torch._utils', ('reraise',), 'the data set of the config fails on an image'),
)


def run(main: Callable[[], None]) -> None:
    """Run a tool; a user's mistake ends it with one line and exit status 1 (ours).

    With MMPOSENC_TRACEBACK=1 in the environment the traceback is shown instead.
    """
    # Where the disk is full, every line of the log would bring a traceback of its own.
    logging.raiseExceptions = os.environ.get('MMPOSENC_TRACEBACK') == '1'
    try:
        main()
    except KeyboardInterrupt:
        print('\nstopped; a training goes on from its last checkpoint with --resume', file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        fault = explain_fault(error)
        source = None if fault or _is_users(error) else _source(error)
        if os.environ.get('MMPOSENC_TRACEBACK') == '1' or not (fault or source or _is_users(error)):
            raise
        text = fault or str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        if 'Original Traceback' in text:  # of a worker process, whose last line says what happened
            text = text.rstrip().splitlines()[-1]
        if source:
            text = f'{source} ({type(error).__name__}: {text:.300}); MMPOSENC_TRACEBACK=1 shows where'
        line = ' '.join(text.split()) or type(error).__name__
        print(f'error: {line if len(line) <= _LONGEST else line[:_LONGEST] + " ..."}', file=sys.stderr)
        raise SystemExit(1) from None
    except SystemExit:
        _leave_together()  # A training that was told to stop, in all its processes.
        raise
    _leave_together()


def _leave_together() -> None:
    if distributed.is_initialized():
        # The wrapped model keeps the group's threads alive until the interpreter takes itself apart, and a process that
        # leaves while another still talks to it may abort.
        gc.collect()
        distributed.barrier()
        distributed.destroy_process_group()


def _is_users(error: Exception) -> bool:
    """Whether the message alone helps; a missing key does only where the config or a registry names it."""
    if isinstance(error, KeyError | AttributeError):
        *_, (frame, _) = walk_tb(error.__traceback__)
        return frame.f_globals.get('__name__', '').startswith(('mmengine.config', 'mmengine.registry'))
    return isinstance(error, USER_ERRORS)


def _source(error: Exception) -> str | None:
    """What of the user's the code that failed was working on: the innermost part of a config, or a checkpoint."""
    source = None
    for frame, _ in walk_tb(error.__traceback__):
        module, function = frame.f_globals.get('__name__', ''), frame.f_code.co_name
        if (module, function) == ('mmengine.registry.build_functions', 'build_from_cfg'):
            kind = frame.f_locals.get('obj_type')
            source = f'{getattr(kind, "__name__", kind) or "a part"} cannot be built as the config says'
        for place, names, text in _SOURCES:
            if module.startswith(place) and function.startswith(names):
                source = text
    return source
