"""DeepLabv3: mmseg's ASPPHead.

A pooled branch (global average, 1x1 convolution, a constant map) and several convolutions of the same features are
joined by a 3x3 convolution, the bottleneck; a classifier of pixels follows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmseg.models import ASPPHead
from torch import Tensor, nn
from torch.nn import functional

from mmposenc.channels.shared_heads import (
    AllBranches,
    BranchVector,
    ConstantShares,
    PooledBranch,
    Slices,
    VariantLogits,
    add_borders,
    norm_scale,
)
from mmposenc.mm.heads.base import SharedHead


class DeepLabV3(SharedHead):
    """Variants of ASPPHead."""

    mmseg = ASPPHead

    def __init__(self, model: Any, layer: str) -> None:
        super().__init__(model, layer)
        bottleneck = self.head.bottleneck
        pooled, own = bottleneck.conv.weight.split(
            [self.head.channels, bottleneck.conv.in_channels - self.head.channels], 1
        )
        self.shares, self.own_weight = ConstantShares(pooled, norm_scale(bottleneck.norm)), own.contiguous()

    @classmethod
    def pooled_layers(cls, head: Any) -> list[str]:
        return ['decode_head.image_pool.0']

    @classmethod
    def blocks(cls, head: Any) -> Sequence[Any]:
        return [head.image_pool[1], *cls.branches(head), head.bottleneck]

    @classmethod
    def branches(cls, head: Any) -> Sequence[Any]:
        """The last block of each branch, which joins the channels of the features."""
        return list(head.aspp_modules)

    def watched(self) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
        outputs = {'pooled': self.head.image_pool[0], 'bottleneck': self.head.bottleneck.conv}
        if self.at_pool:
            return outputs, {}
        # What each branch joins: the features, or what a depthwise convolution made of them.
        inputs = {f'joined {i}': block.conv for i, block in enumerate(self.branches(self.head))}
        outputs |= {f'branch {i}': block.conv for i, block in enumerate(self.branches(self.head))}
        return outputs, inputs

    def variants(self, seen: dict[str, Tensor]) -> VariantLogits:
        bottleneck = self.head.bottleneck
        branch, tail = BranchVector(self.head.image_pool[1], seen['pooled']), self.tail(seen)
        if self.at_pool:
            joined = bottleneck.norm(seen['bottleneck'])
            return PooledBranch(branch, self.shares, joined, lambda maps: tail(bottleneck.activate(maps)))
        blocks = self.branches(self.head)
        joined_by = [seen[f'joined {i}'] for i in range(len(blocks))]
        weights = [block.conv.weight * norm_scale(block.norm)[:, None, None, None] for block in blocks]
        ablated = self.ablated(seen)
        total = torch.cat([block.norm(seen[f'branch {i}']) for i, block in enumerate(blocks)], dim=1)
        total = total.to(torch.promote_types(total.dtype, torch.float32))
        size, shares = total.shape[-2:], torch.empty(0)

        def added(channels: Tensor) -> Tensor:
            parts = []
            for block, maps, weight, off in zip(blocks, joined_by, weights, ablated, strict=True):
                maps = maps.index_select(1, channels)
                if off is not None:
                    maps = maps - off.index_select(1, channels)
                conv = block.conv
                parts.append(
                    functional.conv2d(maps, weight.index_select(1, channels), None, 1, conv.padding, conv.dilation)
                )
            return torch.cat(parts, dim=1)

        def prepare(order: Sequence[int], slices: Slices) -> None:
            nonlocal shares
            shares = self.shares(branch.vectors(order, slices), size)

        def finish(sums: Tensor, positions: Sequence[int]) -> Tensor:
            activated = blocks[0].activate(sums).to(joined_by[0].dtype)
            maps = bottleneck.norm(functional.conv2d(activated, self.own_weight, bottleneck.conv.bias, padding=1))
            return tail(bottleneck.activate(add_borders(maps, shares[list(positions)])))

        return AllBranches(total, added, finish, prepare)

    def ablated(self, seen: dict[str, Tensor]) -> list[Tensor | None]:
        """What a branch joins in the place of an ablated channel, (1, C, 1, 1); None for zero."""
        return [None for _ in self.branches(self.head)]

    def tail(self, seen: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """From the bottleneck's output (n, c, h, w) to the logits."""
        return self.head.cls_seg
