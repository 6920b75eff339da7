"""A user's mistake ends a tool with one line, not with a traceback (ours)."""

import gc
import os
import sys
from collections.abc import Callable
from traceback import walk_tb

from mmengine.config.utils import ConfigParsingError
from torch import distributed

__all__ = ['run']

USER_ERRORS = (ValueError, TypeError, OSError, ImportError, ConfigParsingError)


def run(main: Callable[[], None]) -> None:
    """Run a tool; a user's mistake ends it with one line and exit status 1 (ours).

    With MMPOSENC_TRACEBACK=1 in the environment the traceback is shown instead.
    """
    try:
        main()
    except KeyboardInterrupt:
        print('\nstopped; a training goes on from its last checkpoint with --resume', file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get('MMPOSENC_TRACEBACK') == '1' or not _is_users(error):
            raise
        text = str(error.args[0] if isinstance(error, KeyError) else error)
        print(f'error: {" ".join(text.split()) or type(error).__name__}', file=sys.stderr)
        raise SystemExit(1) from None
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
