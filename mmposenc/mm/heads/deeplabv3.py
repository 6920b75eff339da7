"""DeepLabv3: mmseg's ASPPHead.

A pooled branch (global average, 1x1 convolution, a constant map) and several convolutions of the same features are
joined by a 3x3 convolution, the bottleneck; a classifier of pixels follows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models import ASPPHead
from torch import Tensor
from torch.nn.functional import conv2d

from mmposenc.channels.shared_heads import AllBranches, BranchVector, Slices, add_borders, norm_scale
from mmposenc.mm.heads.base import SharedHead, Watched


class DeepLabV3(SharedHead):
    """Variants of ASPPHead."""

    mmseg = ASPPHead

    def find_pools(self) -> dict[str, tuple[Any, Tensor]]:
        kernel = self.head.bottleneck.conv.weight[:, : self.head.channels]
        return {'decode_head.image_pool.0': (self.head.image_pool, kernel)}

    def blocks(self) -> Sequence[Any]:
        return [self.head.image_pool[1], *self.joins(), self.head.bottleneck]

    def joins(self) -> Sequence[Any]:
        """The last block of each branch, which joins the channels of the features."""
        return list(self.head.aspp_modules)

    def watched_branches(self) -> Watched:
        convs = [block.conv for block in self.joins()]
        outputs = {f'branch {i}': conv for i, conv in enumerate(convs)}
        return {'pooled': self.head.image_pool[0], **outputs}, {f'joined {i}': conv for i, conv in enumerate(convs)}

    def changes(self, seen: dict[str, Tensor]) -> list[Tensor]:
        """What the last convolution of each branch gets, minus what it gets of ablated channels."""
        return [seen[f'joined {i}'] for i in range(len(self.joins()))]

    def all_branches(self, seen: dict[str, Tensor]) -> AllBranches:
        bottleneck, blocks, changes, tail = self.head.bottleneck, self.joins(), self.changes(seen), self.tail(seen)
        branch = BranchVector(self.head.image_pool[1], seen['pooled'])
        weights = [block.conv.weight * norm_scale(block.norm)[:, None, None, None] for block in blocks]
        own_weight = bottleneck.conv.weight[:, self.head.channels :].contiguous()
        total = torch.cat([block.norm(seen[f'branch {i}']) for i, block in enumerate(blocks)], dim=1)
        total = total.to(torch.promote_types(total.dtype, torch.float32))
        (constant,), shares = self.shares.values(), torch.empty(0)

        def added(channels: Tensor) -> Tensor:
            parts = []
            for block, maps, weight in zip(blocks, changes, weights, strict=True):
                maps, weight = maps.index_select(1, channels), weight.index_select(1, channels)
                parts.append(conv2d(maps, weight, padding=block.conv.padding, dilation=block.conv.dilation))
            return torch.cat(parts, dim=1)

        def prepare(order: Sequence[int], slices: Slices) -> None:
            nonlocal shares
            shares = constant(branch.vectors(order, slices), total.shape[-2:])

        def finish(sums: Tensor, positions: Sequence[int]) -> Tensor:
            activated = blocks[0].activate(sums).to(changes[0].dtype)
            maps = bottleneck.norm(conv2d(activated, own_weight, padding=1))
            return tail(add_borders(maps, shares[list(positions)]))

        return AllBranches(total, added, finish, prepare)
