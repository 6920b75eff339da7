"""Mirrored convolution kernels (Sec. 4.2.1, Kernel-Flip* and Kernel-Flip**)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def flipped_kernels(module: nn.Module) -> Iterator[None]:
    """Mirror the width of every convolution kernel wider than 1 while the block runs (Sec. 4.2.1, Kernel-Flip).

    The weights are mirrored where they lie and mirrored back on leaving, also after an exception: a mirror only moves
    numbers, so they come back bit by bit. A kernel shared by two modules is mirrored once. Covers `Conv2d` and
    `ConvTranspose2d` with their subclasses, grouped or not; deformable convolutions have no kernel to mirror this way.

    Raises:
        ValueError: If a convolution's weight is computed from other parameters (parametrized, weight norm).
    """
    weights = _wide_kernels(module)
    flipped = []
    try:
        for weight in weights:
            _mirror(weight)
            flipped.append(weight)
        yield
    finally:
        for weight in flipped:
            _mirror(weight)


def _wide_kernels(module: nn.Module) -> list[nn.Parameter]:
    kernels: dict[int, nn.Parameter] = {}
    for name, child in module.named_modules():
        if not isinstance(child, (nn.Conv2d, nn.ConvTranspose2d)) or child.kernel_size[-1] == 1:
            continue
        weight = dict(child.named_parameters(recurse=False)).get('weight')
        if weight is None:
            raise ValueError(
                f'the kernel of {name or "the module"!r} ({type(child).__name__}) must be a parameter of its own to be '
                f'mirrored, but is computed from others: merge it first, e.g. with '
                f'torch.nn.utils.parametrize.remove_parametrizations'
            )
        kernels[id(weight)] = weight
    return list(kernels.values())


def _mirror(weight: nn.Parameter) -> None:
    with torch.no_grad():
        weight.copy_(weight.flip(-1))
