"""Pairs of forward passes whose pooled features are compared (Sec. 4.2.1, Eq. 2 and 3)."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from torch import Tensor, nn

from mmposenc.channels.kernel_flip import flipped_kernels
from mmposenc.layers import pooled_forward


class PairMember(NamedTuple):
    """One of the two forwards of a pair: what is done to the image, and whether the kernels are mirrored (ours)."""

    image: str
    flipped_kernels: bool = False


IMAGE_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    'same': lambda images: images,
    'flip': lambda images: images.flip(-1),
    'flip_vertical': lambda images: images.flip(-2),
    'roll': lambda images: images.roll(images.shape[-1] // 2, -1),
}
"""What may be done to an image: nothing, the mirror of width or height, a circular shift by half the width."""

PAIRS: dict[str, tuple[PairMember, PairMember]] = {
    'flip_image': (PairMember('same'), PairMember('flip')),
    'flip_image_vertical': (PairMember('same'), PairMember('flip_vertical')),
    'roll_image': (PairMember('same'), PairMember('roll')),
    'flip_kernels': (PairMember('same'), PairMember('same', flipped_kernels=True)),
    'flip_image_flipped_kernels': (
        PairMember('same', flipped_kernels=True),
        PairMember('flip', flipped_kernels=True),
    ),
}
"""Eq. 2's pair `flip_image`; Kernel-Flip* is `flip_image_flipped_kernels`, Kernel-Flip** is `flip_kernels`; two are
ours. With m the mirror and z' the network of mirrored kernels: z(I), z(mI); z'(I), z'(mI); z(I), z'(I).
`roll_image` moves content and mirrors nothing: of the five only it tells position from handed kernels."""


def pooled_pairs(
    model: nn.Module,
    layer: str,
    images: Tensor,
    pairs: Sequence[str] = ('flip_image',),
    forward: Callable[[Tensor], object] | None = None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Pooled features of both members of each pair (Sec. 4.2.1, Eq. 2 and 3).

    A member that several pairs share is computed once: all five pairs take six forwards, one pair takes two.

    Args:
        pairs: Names in `PAIRS`.
        forward: How the network takes images, default `model` itself.

    Shape:
        Images (N, 3, H, W); output per pair two tensors (N, C).
    """
    check_pairs(pairs)
    members = dict.fromkeys(member for pair in pairs for member in PAIRS[pair])
    pooled = {}
    with pooled_forward(model, layer, forward) as pooled_of:
        for flipped in (False, True):
            wanted = [member for member in members if member.flipped_kernels is flipped]
            with flipped_kernels(model) if flipped and wanted else nullcontext():
                for member in wanted:
                    pooled[member] = pooled_of(IMAGE_CHANGES[member.image](images))
    return {pair: (pooled[PAIRS[pair][0]], pooled[PAIRS[pair][1]]) for pair in pairs}


def check_pairs(pairs: Sequence[str]) -> None:
    """Refuse unknown names of pairs (ours)."""
    if isinstance(pairs, str):
        raise TypeError(f'pairs must be a list of names, got the str {pairs!r}: write [{pairs!r}]')
    for pair in pairs:
        if pair not in PAIRS:
            raise ValueError(f'pair must be one of {", ".join(PAIRS)}, got {pair!r}')
