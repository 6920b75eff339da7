"""Decode heads of mmseg whose variants share their convolutions, one file for each kind."""

from typing import Any

from mmseg.models import ASPPHead, DepthwiseSeparableASPPHead, PSPHead

from mmposenc.mm.heads.base import SharedHead
from mmposenc.mm.heads.deeplabv3 import DeepLabV3
from mmposenc.mm.heads.pspnet import PSPNet

__all__ = ['HEADS', 'SharedHead', 'find_head']

HEADS: dict[type, type[SharedHead]] = {ASPPHead: DeepLabV3, DepthwiseSeparableASPPHead: DeepLabV3, PSPHead: PSPNet}


def find_head(model: Any, layer: str) -> tuple[SharedHead | None, str]:
    """The shared head for a layer of a segmentor, or None; and what it shares, or why there is none."""
    head = getattr(model, 'decode_head', None)
    kind, name = HEADS.get(type(head)), type(head or getattr(model, 'head', None)).__name__
    if kind is None:
        return None, f'the head is {name}, not one of {", ".join(known.__name__ for known in HEADS)}'
    found = kind(model, layer)
    if obstacle := found.obstacle():
        return None, obstacle
    if found.pool is not None:
        return found, f'all but the pooled branch of {name} is shared'
    return found, f'the convolutions of {name} are shared between nested sets of channels'
