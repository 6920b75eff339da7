"""Decode heads of mmseg whose variants share their convolutions."""

from typing import Any

from mmposenc.mm.heads.base import SharedHead
from mmposenc.mm.heads.deeplabv3 import DeepLabV3, DeepLabV3Plus
from mmposenc.mm.heads.pspnet import PSPNet

__all__ = ['HEADS', 'SharedHead', 'find_head']

HEADS: tuple[type[SharedHead], ...] = (DeepLabV3, DeepLabV3Plus, PSPNet)


def find_head(model: Any, layer: str) -> tuple[SharedHead | None, str]:
    """The shared head for a layer of a segmentor, or None; and what it shares, or why there is none."""
    head = getattr(model, 'decode_head', None)
    for kind in HEADS:
        if type(head) is kind.mmseg:
            found = kind(model, layer)
            obstacle = found.obstacle()
            return (None, obstacle) if obstacle else (found, found.shared())
    names = ', '.join(kind.mmseg.__name__ for kind in HEADS)
    return None, f'the head is {type(head or getattr(model, "head", None)).__name__}, not one of {names}'
