"""The network inside the hosts' wrappers, and forwards of it in which hooks on any layer fire."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

__all__ = ['eager_forwards', 'inner_model', 'require_whole_images']


def inner_model(model: nn.Module) -> Any:
    """The network that a dotted layer path starts from (ours).

    Args:
        model: A runner's model, maybe inside a distributed wrapper, test-time augmentation or `torch.compile`.
    """
    inner: Any = model
    while True:
        if is_model_wrapper(inner) or isinstance(inner, BaseTTAModel):
            inner = inner.module
        elif hasattr(inner, '_orig_mod'):
            inner = inner._orig_mod
        else:
            return inner


_eager = ExitStack()
_blocks = 0


@contextmanager
def eager_forwards() -> Iterator[None]:
    """Run compiled modules uncompiled while any such block runs (ours).

    A module that was compiled and has run knows nothing of hooks that its children get later. Blocks may overlap and
    end in any order, as those of two hooks of one runner do; PyTorch's own switch must be undone last in, first out.
    """
    global _blocks
    if _blocks == 0:
        _eager.enter_context(_uncompiled())
    _blocks += 1
    try:
        yield
    finally:
        _blocks -= 1
        if _blocks == 0:
            _eager.close()


@contextmanager
def _uncompiled() -> Iterator[None]:
    if hasattr(torch.compiler, 'set_stance'):
        with torch.compiler.set_stance('force_eager'):
            yield
        return
    # PyTorch before 2.6: forget what was compiled, so that the hooks are compiled in; and again without them.
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()


def require_whole_images(model: nn.Module, allow_slide: bool = False) -> None:
    """Refuse a network that is tested by sliding windows (ours).

    Args:
        model: A runner's model.
        allow_slide: Refuse nothing.

    Raises:
        ValueError: If mmseg's `test_cfg` of the model has mode 'slide' (or another with windows).
    """
    mode = (getattr(inner_model(model), 'test_cfg', None) or {}).get('mode', 'whole')
    if mode != 'whole' and not allow_slide:
        raise ValueError(
            f'position in the image needs whole-image inference, but model.test_cfg.mode is {mode!r}: a global average '
            f"over a window knows the window only. Set model.test_cfg=dict(mode='whole'), or allow_slide=True if "
            f'windows are what you study'
        )
