"""Pairs of forward passes whose pooled features are compared (Sec. 4.2.1, Eq. 2 and 3)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmposenc.layers import Forward, pooled_features


class PairMember(NamedTuple):
    """One of the two forwards of a pair: what is done to the image, and whether the kernels are mirrored."""

    image: str
    flipped_kernels: bool = False


IMAGE_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    'same': lambda images: images,
    'flip': lambda images: images.flip(-1),
    'flip_vertical': lambda images: images.flip(-2),
    'roll': lambda images: images.roll(images.shape[-1] // 2, -1),
    'roll_vertical': lambda images: images.roll(images.shape[-2] // 2, -2),
}
"""What may be done to an image: nothing, the mirror of width or height, a circular shift by half of either."""

PAIRS: dict[str, tuple[PairMember, PairMember]] = {
    'flip_image': (PairMember('same'), PairMember('flip')),
    'flip_image_vertical': (PairMember('same'), PairMember('flip_vertical')),
    'roll_image': (PairMember('same'), PairMember('roll')),
    'roll_image_vertical': (PairMember('same'), PairMember('roll_vertical')),
    'flip_kernels': (PairMember('same'), PairMember('same', True)),
    'flip_image_flipped_kernels': (PairMember('same', True), PairMember('flip', True)),
}
"""Eq. 2's pair is `flip_image`; Kernel-Flip* is `flip_image_flipped_kernels`, Kernel-Flip** is `flip_kernels`; the
other three are not in the paper. With m the mirror and z' the network of mirrored kernels: z(I), z(mI); z'(I), z'(mI);
z(I), z'(I). The rolls move content and mirror nothing: only they tell position from kernels that respond to
handedness."""


def pooled_pairs(
    model: nn.Module,
    layer: str,
    images: Tensor,
    pairs: Sequence[str] = ('flip_image',),
    forward: Forward | None = None,
    channel_dim: int | None = None,
    prefix_tokens: int | None = None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Pooled features of both members of each pair (Sec. 4.2.1, Eq. 2 and 3).

    `images` are (N, 3, H, W), and each of the `pairs`, names in `PAIRS`, gives two tensors (N, C). A member that
    several share is computed once: all six take seven forwards, one takes two. For the other arguments see
    `mmposenc.layers.pooled_features`; a model that pads its images does so in `forward`, after they were changed.
    """
    check_pairs(pairs)
    members = dict.fromkeys(member for pair in pairs for member in PAIRS[pair])
    pooled: dict[PairMember, Tensor] = {}
    for flipped in (False, True):
        wanted = [member for member in members if member.flipped_kernels is flipped]
        with flipped_kernels(model) if flipped and wanted else nullcontext():
            for member in wanted:
                changed = IMAGE_CHANGES[member.image](images)
                pooled[member] = pooled_features(model, layer, changed, forward, channel_dim, prefix_tokens)
    return {pair: (pooled[PAIRS[pair][0]], pooled[PAIRS[pair][1]]) for pair in pairs}


def check_pairs(pairs: Sequence[str]) -> None:
    """Refuse unknown names of pairs."""
    if isinstance(pairs, (str, set)) or not len(pairs):  # A set has another order in every process.
        raise TypeError(f"pairs must be a list of names such as ['flip_image'], got {pairs!r}")
    if unknown := [pair for pair in pairs if pair not in PAIRS]:
        raise ValueError(f'pair must be one of {", ".join(PAIRS)}, got {unknown[0]!r}')


@contextmanager
def flipped_kernels(module: nn.Module) -> Iterator[None]:
    """Mirror the width of every convolution kernel wider than 1 while the block runs (Sec. 4.2.1, Kernel-Flip).

    The weights are mirrored in place and mirrored back on leaving, also after an exception; they come back bit by bit.
    A kernel shared by two modules is mirrored once. Covers `Conv2d` and `ConvTranspose2d` with their subclasses,
    grouped or not; deformable convolutions have no kernel to mirror this way. ValueError if a convolution's weight is
    computed from other parameters (parametrized, weight norm) or is TorchScript's, or if there is no kernel to mirror.
    """
    kernels: dict[int, Tensor] = {}
    for name, child in module.named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            raise ValueError(f'the kernels of {name or "the module"!r} cannot be mirrored: it is TorchScript')
        if not isinstance(child, (nn.Conv2d, nn.ConvTranspose2d)) or child.kernel_size[-1] == 1:
            continue
        if 'weight' not in child._parameters:
            kernel = f'the kernel of {name or "the module"!r} ({type(child).__name__})'
            advice = 'merge it first, e.g. with torch.nn.utils.parametrize.remove_parametrizations'
            raise ValueError(f'{kernel} must be a parameter of its own, but is computed from others: {advice}')
        kernels[id(child.weight)] = child.weight
    if not kernels:
        raise ValueError(f'{type(module).__name__} has no Conv2d whose kernel is wider than 1: there is none to mirror')
    _mirror(kernels.values())
    try:
        yield
    finally:
        _mirror(kernels.values())


@torch.no_grad()
def _mirror(weights: Iterable[Tensor]) -> None:
    for weight in weights:
        weight.copy_(weight.flip(-1))
    # Autocast keeps half precision copies of the weights and does not see that they changed.
    torch.clear_autocast_cache()
