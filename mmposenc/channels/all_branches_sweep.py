"""Channels off at the features that every branch of an ASPP head sees."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mmposenc.channels.aspp_parts import ASPPRecord, Slices, bottleneck_share, norm_scale, pooled_vectors
from mmposenc.channels.constant_maps import add_borders


class AllBranchesSweep:
    """Variants of DeepLabv3 with channels of the backbone's output off (Sec. 4.2.2, where the authors' code does it).

    The branches are linear up to their activation. The ranked channels are convolved once, in the blocks that the asked
    slices bound; a variant is the ordinary forward minus the blocks that are off: prefix sums for the top N,
    differences of two of them for windows. Then activation, bottleneck and classifier. However many variants there are,
    memory holds few sums of the branches: the whole, that up to the current rank, and those where open windows began.

    Args:
        head: See `record_aspp`; in evaluation mode.
        record: Of an ordinary forward.
        image: Which image of the batch.
    """

    def __init__(self, head: Any, record: ASPPRecord, image: int) -> None:
        self.head = head
        self.features = record.features[0][image : image + 1]
        self.pooled = record.pooled[0][image : image + 1]
        blocks = zip(head.aspp_modules, record.branches, strict=True)
        self.total = torch.cat([block.norm(output[image : image + 1]).float() for block, output in blocks], dim=1)
        self.own_weight = head.bottleneck.conv.weight[:, -self.total.shape[1] :].contiguous()
        self.weights = [block.conv.weight * norm_scale(block.norm)[:, None, None, None] for block in head.aspp_modules]

    @property
    def variant_bytes(self) -> int:
        """Memory of one more variant at once, up to its logits."""
        return 2 * self.total.numel() * self.total.element_size()

    def logits(self, order: Sequence[int], slices: Slices, chunk: int) -> Iterator[tuple[list[int], Tensor]]:
        """Give positions in `slices` and the logits (n, K, h, w) of those variants, at most `chunk` at once.

        Args:
            order: All channels, best first.
            slices: (start, stop) of the ranks that are off in each variant.
            chunk: Variants at once.
        """
        vectors, _ = pooled_vectors(self.head, self.pooled, order, slices)
        shares = bottleneck_share(self.head, vectors, self.total.shape[-2:])
        buffer = self.total.new_empty((min(chunk, len(slices)), *self.total.shape[1:]))
        positions: list[int] = []
        for position, branches in self._branches(order, slices):
            buffer[len(positions)] = branches[0]
            positions.append(position)
            if len(positions) == len(buffer):
                yield positions, self._finish(buffer, shares[positions])
                positions = []
        if positions:
            yield positions, self._finish(buffer[: len(positions)], shares[positions])

    def _branches(self, order: Sequence[int], slices: Slices) -> Iterator[tuple[int, Tensor]]:
        """Each variant's branches before their activation, in the order in which the last of its channels comes."""
        left = self.total  # With the channels from rank 0 to the end of the current block off.
        begun: dict[int, Tensor] = {}
        for begin, end in pairwise(sorted({0, *(bound for bounds in slices for bound in bounds)})):
            begun[begin] = left
            left = self._without(left, order[begin:end])
            for position, (start, stop) in enumerate(slices):
                if stop == end:
                    yield position, left if start == 0 else self.total + left - begun[start]
            begun = {start: sums for start, sums in begun.items() if any(s == start and e > end for s, e in slices)}

    def _without(self, branches: Tensor, channels: Sequence[int]) -> Tensor:
        index = torch.tensor(channels, device=self.features.device)
        block = self.features.index_select(1, index)
        left = branches.clone()
        parts = left.split([len(weight) for weight in self.weights], dim=1)
        for part, module, weight in zip(parts, self.head.aspp_modules, self.weights, strict=True):
            conv = module.conv
            part -= functional.conv2d(block, weight.index_select(1, index), None, 1, conv.padding, conv.dilation)
        return left

    def _finish(self, branches: Tensor, shares: Tensor) -> Tensor:
        """From the branches, which are written over, to the logits."""
        bottleneck = self.head.bottleneck
        activated = self.head.aspp_modules[0].activate(branches).to(self.features.dtype)
        features = bottleneck.norm(functional.conv2d(activated, self.own_weight, bottleneck.conv.bias, padding=1))
        return self.head.cls_seg(bottleneck.activate(add_borders(features, shares)))
