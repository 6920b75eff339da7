"""The state of every random generator of a training process, as data that a checkpoint can hold."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ['kept_random_state', 'read_random_state', 'set_random_state']


def read_random_state(model: nn.Module | None = None) -> dict[str, Any]:
    """The state of PyTorch (CPU and current GPU), numpy, Python and the model's own generators (ours).

    Tensors, lists and numbers only, so that a checkpoint with it is read without running code.

    Args:
        model: Its modules may hold generators as attributes, as a seeded `PermuteNeck` does.
    """
    _, keys, *numpy_rest = np.random.get_state()
    _, words, gauss = random.getstate()
    state: dict[str, Any] = {
        'torch': torch.get_rng_state(),
        'numpy': [torch.from_numpy(np.asarray(keys).astype(np.int64)), *numpy_rest],
        'python': [torch.tensor(words), gauss],
        'model': {name: generator.get_state() for name, generator in _own_generators(model)},
    }
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any], model: nn.Module | None = None) -> None:
    """Put back what `read_random_state` returned, from whatever device it was loaded to (ours)."""
    torch.set_rng_state(state['torch'].cpu())
    keys, *numpy_rest = state['numpy']
    np.random.set_state(('MT19937', keys.cpu().numpy().astype(np.uint32), *numpy_rest))
    words, gauss = state['python']
    random.setstate((3, tuple(words.tolist()), gauss))
    for name, generator in _own_generators(model):
        if name in state['model']:
            generator.set_state(state['model'][name].cpu())
    if torch.cuda.is_available() and 'cuda' in state:
        torch.cuda.set_rng_state(state['cuda'].cpu())


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Whatever the block draws, what is drawn after it is the same as without it (ours)."""
    state = read_random_state()
    try:
        yield
    finally:
        set_random_state(state)


def _own_generators(model: nn.Module | None) -> Iterator[tuple[str, torch.Generator]]:
    for path, module in model.named_modules() if model is not None else ():
        for name, value in vars(module).items():
            if isinstance(value, torch.Generator):
                yield f'{path}.{name}', value
