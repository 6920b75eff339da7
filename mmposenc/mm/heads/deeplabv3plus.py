"""DeepLabv3+: mmseg's DepthwiseSeparableASPPHead.

As DeepLabv3, but a dilated branch is a depthwise convolution with its own norm and activation, then a pointwise one
that joins the channels; and a decoder joins the result with early features of the backbone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmcv.cnn import DepthwiseSeparableConvModule
from mmseg.models import DepthwiseSeparableASPPHead
from torch import Tensor, nn
from torch.nn import functional

from mmposenc.layers import split_layer
from mmposenc.mm.heads.deeplabv3 import DeepLabV3


class DeepLabV3Plus(DeepLabV3):
    """Variants of DepthwiseSeparableASPPHead."""

    mmseg = DepthwiseSeparableASPPHead

    @classmethod
    def obstacle(cls, model: Any, layer: str) -> str | None:
        head, outputs = model.decode_head, max(len(getattr(model.backbone, 'out_indices', ())), 1)
        if head.c1_bottleneck is not None and split_layer(layer)[0] == 'backbone' and head.in_index % outputs == 0:
            return 'the decoder takes its early features from the same layer'
        return super().obstacle(model, layer)

    @classmethod
    def blocks(cls, head: Any) -> Sequence[Any]:
        depthwise = [m.depthwise_conv for m in head.aspp_modules if isinstance(m, DepthwiseSeparableConvModule)]
        return [*super().blocks(head), *depthwise]

    @classmethod
    def branches(cls, head: Any) -> Sequence[Any]:
        return [getattr(module, 'pointwise_conv', module) for module in head.aspp_modules]

    def watched(self) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
        outputs, inputs = super().watched()
        if self.head.c1_bottleneck is not None:
            outputs['early'] = self.head.c1_bottleneck
        return outputs, inputs

    def ablated(self, seen: dict[str, Tensor]) -> list[Tensor | None]:
        constants: list[Tensor | None] = []
        for i, module in enumerate(self.head.aspp_modules):
            depthwise = getattr(module, 'depthwise_conv', None)
            if depthwise is None:
                constants.append(None)
                continue
            like = seen[f'joined {i}']
            zero = like.new_zeros(1, like.shape[1], 1, 1)
            if depthwise.conv.bias is not None:
                zero = zero + depthwise.conv.bias[:, None, None]
            constants.append(depthwise.activate(depthwise.norm(zero)))
        return constants

    def tail(self, seen: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        early, head = seen.get('early'), self.head

        def decode(maps: Tensor) -> Tensor:
            if early is not None:
                maps = functional.interpolate(maps, early.shape[2:], mode='bilinear', align_corners=head.align_corners)
                maps = torch.cat([maps, early.expand(len(maps), -1, -1, -1)], dim=1)
            return head.cls_seg(head.sep_bottleneck(maps))

        return decode
