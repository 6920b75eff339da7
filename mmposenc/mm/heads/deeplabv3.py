"""DeepLabv3 and DeepLabv3+: mmseg's ASPPHead and DepthwiseSeparableASPPHead.

A pooled branch (global average, 1x1 convolution, a constant map) and several convolutions of the same features are
joined by a 3x3 convolution, the bottleneck; a classifier of pixels follows. In DeepLabv3+ a dilated branch is a
depthwise convolution with its own norm and activation, then a pointwise one that joins the channels, and a decoder
joins the result with early features of the backbone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmseg.models import ASPPHead, DepthwiseSeparableASPPHead
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from mmposenc.channels.shared_heads import AllBranches, BranchVector, Slices, add_borders, norm_scale
from mmposenc.layers import split_layer
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
        (constant,) = self.shares.values()

        def added(channels: Tensor) -> Tensor:
            parts = []
            for block, maps, weight in zip(blocks, changes, weights, strict=True):
                maps, weight = maps.index_select(1, channels), weight.index_select(1, channels)
                parts.append(conv2d(maps, weight, padding=block.conv.padding, dilation=block.conv.dilation))
            return torch.cat(parts, dim=1)

        def finisher(order: Sequence[int], slices: Slices) -> Callable[[Tensor, list[int]], Tensor]:
            shares = constant(branch.vectors(order, slices), total.shape[-2:])

            def finish(sums: Tensor, positions: list[int]) -> Tensor:
                activated = blocks[0].activate(sums).to(changes[0].dtype)
                maps = bottleneck.norm(conv2d(activated, own_weight, padding=1))
                return tail(add_borders(maps, shares[positions]))

            return finish

        return AllBranches(total, added, finisher)


class DeepLabV3Plus(DeepLabV3):
    """Variants of DepthwiseSeparableASPPHead."""

    mmseg = DepthwiseSeparableASPPHead

    def obstacle(self) -> str | None:
        outputs = max(len(getattr(self.model.backbone, 'out_indices', ())), 1)
        of_backbone = split_layer(self.layer)[0] == 'backbone'
        if self.head.c1_bottleneck is not None and of_backbone and self.head.in_index % outputs == 0:
            return 'the decoder takes its early features from the same layer'
        return super().obstacle()

    def depthwise(self) -> list[Any]:
        """The depthwise block of each branch; None where a branch has none."""
        return [getattr(module, 'depthwise_conv', None) for module in self.head.aspp_modules]

    def blocks(self) -> Sequence[Any]:
        return [*super().blocks(), *filter(None, self.depthwise())]

    def joins(self) -> Sequence[Any]:
        return [getattr(module, 'pointwise_conv', module) for module in self.head.aspp_modules]

    def watched(self) -> Watched:
        outputs, inputs = super().watched()
        decoder = self.head.c1_bottleneck
        return outputs if decoder is None else {**outputs, 'early': decoder}, inputs

    def changes(self, seen: dict[str, Tensor]) -> list[Tensor]:
        changes = super().changes(seen)
        for i, depthwise in enumerate(self.depthwise()):
            if depthwise is not None:
                zero = changes[i].new_zeros(1, changes[i].shape[1], 1, 1)
                changes[i] = changes[i] - depthwise.activate(depthwise.norm(zero))
        return changes

    def tail(self, seen: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        early, head = seen.get('early'), self.head

        def decode(maps: Tensor) -> Tensor:
            maps = head.bottleneck.activate(maps)
            if early is not None:
                maps = interpolate(maps, early.shape[2:], mode='bilinear', align_corners=head.align_corners)
                maps = torch.cat([maps, early.expand(len(maps), -1, -1, -1)], dim=1)
            return head.cls_seg(head.sep_bottleneck(maps))

        return decode
