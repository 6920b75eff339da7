"""PSPNet: mmseg's PSPHead."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from mmposenc.channels.shared_heads import AllBranches, BranchVector, Slices, add_borders, norm_scale, norm_shift
from mmposenc.mm.heads.base import SharedHead, Watched


class PSPNet(SharedHead):
    """Variants of PSPHead.

    Its branches are the features themselves, and their averages over 1x1, 2x2, ... cells, convolved (1x1) and resized.
    That of one cell is the globally pooled one.
    """

    @cached_property
    def names(self) -> list[str]:
        """Of the pooling layers."""
        return [f'decode_head.psp_modules.{i}.0' for i in range(len(self.head.pool_scales))]

    def find_pools(self) -> dict[str, tuple[Any, Tensor]]:
        branches = zip(self.head.pool_scales, self.names, self.head.psp_modules, self.kernels()[1:], strict=True)
        return {name: (module, kernel) for cells, name, module, kernel in branches if cells == 1}

    def kernels(self) -> Sequence[Tensor]:
        """Of the bottleneck, for the features and for each branch."""
        widths = [self.head.in_channels, *[self.head.channels] * len(self.names)]
        return self.head.bottleneck.conv.weight.split(widths, dim=1)

    def blocks(self) -> Sequence[Any]:
        return [*(branch[1] for branch in self.head.psp_modules), self.head.bottleneck]

    def watched_branches(self) -> Watched:
        poolings = zip(self.names, self.head.psp_modules, strict=True)
        return {name: module[0] for name, module in poolings}, {'features': self.head.psp_modules}

    def all_branches(self, seen: dict[str, Tensor]) -> AllBranches:
        head, tail, features, norm = self.head, self.tail(seen), seen['features'], self.head.bottleneck.norm
        size, scale, shift = features.shape[-2:], norm_scale(norm), norm_shift(norm)
        own_kernel, *kernels = (kernel * scale[:, None, None, None] for kernel in self.kernels())
        branches = list(zip(self.names, head.psp_modules, kernels, strict=True))
        vectors = {name: BranchVector(module[1], seen[name]) for name, module, _ in branches}
        resized = {name: kernel for name, _, kernel in branches if name not in self.shares}
        options = dict(size=size, mode='bilinear', align_corners=head.align_corners)

        def added(channels: Tensor) -> Tensor:
            return conv2d(features.index_select(1, channels), own_kernel.index_select(1, channels), padding=1)

        def finisher(order: Sequence[int], slices: Slices) -> Callable[[Tensor, list[int]], Tensor]:
            small = {name: vector.vectors(order, slices) for name, vector in vectors.items()}
            constants = [share(small[name], size) for name, share in self.shares.items()]

            def finish(sums: Tensor, positions: list[int]) -> Tensor:
                maps = sums + shift[:, None, None]
                if resized:
                    large = torch.cat([interpolate(small[name][positions], **options) for name in resized], dim=1)
                    maps = maps + conv2d(large, torch.cat([*resized.values()], dim=1), padding=1)
                if constants:
                    maps = add_borders(maps, torch.stack(constants).sum(0)[positions])
                return tail(maps)

            return finish

        return AllBranches(conv2d(features, own_kernel, padding=1), added, finisher)
