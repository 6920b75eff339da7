"""PSPNet: mmseg's PSPHead.

The features themselves and branches that pool them over 1x1, 2x2, ... cells, convolve (1x1) and resize, are joined by a
3x3 convolution, the bottleneck; a classifier of pixels follows. The branch of one cell is the globally pooled one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models import PSPHead
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
    norm_shift,
)
from mmposenc.layers import split_layer
from mmposenc.mm.heads.base import SharedHead


class PSPNet(SharedHead):
    """Variants of PSPHead."""

    mmseg = PSPHead

    def __init__(self, model: Any, layer: str) -> None:
        super().__init__(model, layer)
        head, conv = self.head, self.head.bottleneck.conv
        self.scale = norm_scale(head.bottleneck.norm)
        weights = conv.weight.split([head.in_channels, *[head.channels] * len(head.pool_scales)], dim=1)
        self.own_weight = weights[0] * self.scale[:, None, None, None]
        self.branch_weights = [weight * self.scale[:, None, None, None] for weight in weights[1:]]
        self.shares = {
            i: ConstantShares(weights[1 + i], self.scale) for i, cells in enumerate(head.pool_scales) if cells == 1
        }
        self.branch = int(split_layer(layer)[0].split('.')[2]) if self.at_pool else -1

    @classmethod
    def pooled_layers(cls, head: Any) -> list[str]:
        return [f'decode_head.psp_modules.{i}.0' for i, cells in enumerate(head.pool_scales) if cells == 1]

    @classmethod
    def blocks(cls, head: Any) -> Sequence[Any]:
        return [*(branch[1] for branch in head.psp_modules), head.bottleneck]

    def watched(self) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
        branches = enumerate(self.head.psp_modules)
        outputs = {f'pooled {i}': branch[0] for i, branch in branches if not self.at_pool or i == self.branch}
        if self.at_pool:
            return {**outputs, 'bottleneck': self.head.bottleneck.conv}, {}
        return outputs, {'features': self.head.psp_modules}

    def variants(self, seen: dict[str, Tensor]) -> VariantLogits:
        head, bottleneck = self.head, self.head.bottleneck
        if self.at_pool:
            branch = BranchVector(head.psp_modules[self.branch][1], seen[f'pooled {self.branch}'])
            joined = bottleneck.norm(seen['bottleneck'])
            return PooledBranch(
                branch, self.shares[self.branch], joined, lambda maps: head.cls_seg(bottleneck.activate(maps))
            )
        features = seen['features']
        size = features.shape[-2:]
        branches = [BranchVector(module[1], seen[f'pooled {i}']) for i, module in enumerate(head.psp_modules)]
        constant: Tensor | None = None
        resized: list[tuple[Tensor, Tensor]] = []
        shift = norm_shift(bottleneck.norm)
        if bottleneck.conv.bias is not None:
            shift = shift + self.scale * bottleneck.conv.bias
        total = functional.conv2d(features, self.own_weight, padding=1)

        def added(channels: Tensor) -> Tensor:
            weight = self.own_weight.index_select(1, channels)
            return functional.conv2d(features.index_select(1, channels), weight, padding=1)

        def prepare(order: Sequence[int], slices: Slices) -> None:
            nonlocal constant
            constant = None
            resized.clear()
            for i, branch in enumerate(branches):
                maps = branch.vectors(order, slices)
                if i in self.shares:
                    share = self.shares[i](maps, size)
                    constant = share if constant is None else constant + share
                else:
                    resized.append((maps, self.branch_weights[i]))

        def finish(sums: Tensor, positions: Sequence[int]) -> Tensor:
            chosen = list(positions)
            maps = sums + shift[:, None, None]
            if resized:
                large = [
                    functional.interpolate(small[chosen], size, mode='bilinear', align_corners=head.align_corners)
                    for small, _ in resized
                ]
                weight = torch.cat([weight for _, weight in resized], dim=1)
                maps = maps + functional.conv2d(torch.cat(large, dim=1), weight, padding=1)
            if constant is not None:
                maps = add_borders(maps, constant[chosen])
            return head.cls_seg(bottleneck.activate(maps))

        return AllBranches(total, added, finish, prepare)
