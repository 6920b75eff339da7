"""The parts of an ASPP head (DeepLabv3) that its variants share (the network of Sec. 4.2.2).

The head: a pooling branch (global average, 1x1 conv, a constant map) and several convolutions of the same features,
each with batch norm and activation, joined and convolved by the bottleneck, then a classifier of pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmposenc.channels.constant_maps import convolve_constant

Slices = Sequence[tuple[int, int]]


@dataclass
class ASPPRecord:
    """What an ordinary forward of the head went through (ours).

    Args:
        features: Input of the branches, one tensor (B, C, h, w).
        pooled: Output of the global average pooling, one tensor (B, C, 1, 1).
        branches: Output of each branch's convolution, before its batch norm, (B, c, h, w).
        bottleneck: Output of the bottleneck's convolution, before its batch norm, one tensor (B, c, h, w).
    """

    features: list[Tensor] = field(default_factory=list)
    pooled: list[Tensor] = field(default_factory=list)
    branches: list[Tensor] = field(default_factory=list)
    bottleneck: list[Tensor] = field(default_factory=list)


@contextmanager
def record_aspp(head: Any) -> Iterator[ASPPRecord]:
    """Record the parts of one forward of the head while the block runs (ours).

    Args:
        head: mmseg's ASPPHead or a module with its parts: `image_pool`, `aspp_modules`, `bottleneck` and `cls_seg`,
            its blocks with `conv`, `norm` (batch norm) and `activate`.
    """
    record = ASPPRecord()

    def keep(place: list[Tensor]) -> Any:
        return lambda module, args, output: place.append(output)

    handles = [
        head.image_pool[0].register_forward_hook(lambda module, args, output: record.features.append(args[0])),
        head.image_pool[0].register_forward_hook(keep(record.pooled)),
        *(block.conv.register_forward_hook(keep(record.branches)) for block in head.aspp_modules),
        head.bottleneck.conv.register_forward_hook(keep(record.bottleneck)),
    ]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def pooled_vectors(head: Any, pooled: Tensor, order: Sequence[int], slices: Slices) -> tuple[Tensor, Tensor]:
    """What the pooling branch gives with slices of the pooled channels off, and with none (ours).

    Args:
        head: See `record_aspp`.
        pooled: Output of the pooling for one image, (1, C, 1, 1).
        order: All channels, best first.
        slices: (start, stop) of the ranks that are off in each variant.

    Returns:
        (n, c) and (1, c).
    """
    ranks = torch.empty(len(order), dtype=torch.int64)
    ranks[torch.tensor(order)] = torch.arange(len(order))
    starts, stops = torch.tensor(list(slices)).T
    off = ((ranks >= starts[:, None]) & (ranks < stops[:, None])).to(pooled.device)
    vectors = head.image_pool[1](torch.cat([pooled.masked_fill(off[:, :, None, None], 0), pooled]))[:, :, 0, 0]
    return vectors[:-1], vectors[-1:]


def bottleneck_share(head: Any, vectors: Tensor, size: Sequence[int]) -> Tensor:
    """What the pooling branch's constant maps add to the bottleneck behind its batch norm (ours).

    Shape:
        vectors (n, c); output (n, c, 3, 3) for `add_borders`, less where the map is smaller.
    """
    weight = head.bottleneck.conv.weight[:, : vectors.shape[1]]
    return convolve_constant(vectors.to(weight.dtype), weight, size) * norm_scale(head.bottleneck.norm)[:, None, None]


def norm_scale(norm: Any) -> Tensor:
    """The factor by which batch norm in evaluation mode multiplies each channel (ours)."""
    scale = (norm.running_var + norm.eps).rsqrt()
    return scale if norm.weight is None else scale * norm.weight
