"""DeepLabv3 and DeepLabv3+: mmseg's ASPPHead and DepthwiseSeparableASPPHead."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from mmposenc.channels.shared_heads import AllBranches, BranchVector, Slices, add_borders, norm_scale
from mmposenc.mm.heads.base import SharedHead, Watched


class DeepLabV3(SharedHead):
    """Variants of ASPPHead, and of DepthwiseSeparableASPPHead, the head of DeepLabv3+.

    In the latter a dilated branch is a depthwise convolution with its own norm and activation, then a pointwise one
    that joins the channels, and a decoder joins the result with early features of the backbone.
    """

    def __init__(self, model: Any, layer: str) -> None:
        super().__init__(model, layer)
        # The last block of each branch, which joins the channels of the features, and the depthwise one before it.
        self.joins = [getattr(module, 'pointwise_conv', module) for module in self.head.aspp_modules]
        self.depthwise = [getattr(module, 'depthwise_conv', None) for module in self.head.aspp_modules]
        self.early = getattr(self.head, 'c1_bottleneck', None)

    def find_pools(self) -> dict[str, tuple[Any, Tensor]]:
        kernel = self.head.bottleneck.conv.weight[:, : self.head.channels]
        return {'decode_head.image_pool.0': (self.head.image_pool, kernel)}

    def blocks(self) -> Sequence[Any]:
        return [self.head.image_pool[1], *self.joins, self.head.bottleneck, *filter(None, self.depthwise)]

    def obstacle(self) -> str | None:
        obstacle = super().obstacle()
        takes_early = obstacle is None and self.pool is None and self.early is not None
        if takes_early and self.head.in_index % len(self.model.backbone.out_indices) == 0:
            return 'the decoder takes its early features from the same layer'
        return obstacle

    def watched(self) -> Watched:
        outputs, inputs = super().watched()
        return outputs if self.early is None else {**outputs, 'early': self.early}, inputs

    def watched_branches(self) -> Watched:
        convs = [block.conv for block in self.joins]
        outputs = {f'branch {i}': conv for i, conv in enumerate(convs)}
        return {'pooled': self.head.image_pool[0], **outputs}, {f'joined {i}': conv for i, conv in enumerate(convs)}

    def all_branches(self, seen: dict[str, Tensor]) -> AllBranches:
        bottleneck, blocks, tail = self.head.bottleneck, self.joins, self.tail(seen)
        changes = [seen[f'joined {i}'] for i in range(len(blocks))]
        for i, depthwise in enumerate(self.depthwise):
            if depthwise is not None:  # Of an ablated channel too, the pointwise convolution gets something.
                zero = changes[i].new_zeros(1, changes[i].shape[1], 1, 1)
                changes[i] = changes[i] - depthwise.activate(depthwise.norm(zero))
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

    def tail(self, seen: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        early, head = seen.get('early'), self.head

        def decode(maps: Tensor) -> Tensor:
            maps = head.bottleneck.activate(maps)
            if early is not None:
                maps = interpolate(maps, early.shape[2:], mode='bilinear', align_corners=head.align_corners)
                maps = torch.cat([maps, early.expand(len(maps), -1, -1, -1)], dim=1)
            return head.cls_seg(head.sep_bottleneck(maps) if hasattr(head, 'sep_bottleneck') else maps)

        return decode
