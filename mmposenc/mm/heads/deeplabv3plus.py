"""DeepLabv3+: mmseg's DepthwiseSeparableASPPHead.

As DeepLabv3, but a dilated branch is a depthwise convolution with its own norm and activation, then a pointwise one
that joins the channels; and a decoder joins the result with early features of the backbone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmseg.models import DepthwiseSeparableASPPHead
from torch import Tensor
from torch.nn.functional import interpolate

from mmposenc.layers import split_layer
from mmposenc.mm.heads.base import Watched
from mmposenc.mm.heads.deeplabv3 import DeepLabV3


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
