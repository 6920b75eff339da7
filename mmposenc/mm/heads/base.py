"""What the shared heads have in common: when a head may stand in for the network, and what it needs of a forward."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from mmposenc.channels.shared_heads import VariantLogits, recorded
from mmposenc.layers import split_layer

# What a variant leaves out or does in its own way; a model that changes one of them is run as it is.
_MODEL_METHODS = (
    'forward',
    '_forward',
    'predict',
    'inference',
    'whole_inference',
    'encode_decode',
    'extract_feat',
    'postprocess_result',
)
_HEAD_METHODS = ('forward', '_forward_feature', '_transform_inputs', 'predict', 'predict_by_feat', 'cls_seg')


class SharedHead(ABC):
    """A decode head of mmseg, and how its variants are computed without running it for each.

    Args:
        model: A segmentor, without wrappers, in evaluation mode; `obstacle` must have nothing against it.
        layer: The pooled layer of the head, or what the head gets from the backbone.

    Attributes:
        mmseg: The class of the head.
    """

    mmseg: ClassVar[type[BaseDecodeHead]]

    def __init__(self, model: Any, layer: str) -> None:
        self.head: Any = model.decode_head
        self.at_pool = layer in self.pooled_layers(self.head)

    @classmethod
    @abstractmethod
    def pooled_layers(cls, head: Any) -> list[str]:
        """Names of the layers whose output is globally pooled."""

    @classmethod
    @abstractmethod
    def blocks(cls, head: Any) -> Sequence[Any]:
        """The blocks of convolution, batch norm and activation that are taken apart."""

    @abstractmethod
    def watched(self) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
        """The modules whose output in an ordinary forward is needed, and those whose input is, by name."""

    def record(self) -> AbstractContextManager[dict[str, Tensor]]:
        """Record one ordinary forward of a batch while the block runs."""
        return recorded(*self.watched())

    @abstractmethod
    def variants(self, seen: dict[str, Tensor]) -> VariantLogits:
        """The variants of one image; `seen` is the record, one image of each tensor."""

    @classmethod
    def shared(cls, model: Any, layer: str) -> str:
        """What the variants at the layer share, for the log."""
        name = cls.mmseg.__name__
        if layer in cls.pooled_layers(model.decode_head):
            return f'all but the pooled branch of {name} is shared'
        return f'the convolutions of {name} are shared between nested sets of channels'

    @classmethod
    def obstacle(cls, model: Any, layer: str) -> str | None:
        """Why the head cannot stand in for the model at this layer; None if it can."""
        head = model.decode_head
        if layer not in cls.pooled_layers(head) and not _is_input(model, layer):
            pooled = ' or '.join(cls.pooled_layers(head)) or 'a pooled layer'
            return f'the layer is neither {pooled} nor what the head gets from the backbone'
        if changed := _changed(model, EncoderDecoder, _MODEL_METHODS) or _changed(head, cls.mmseg, _HEAD_METHODS):
            return f'{type(model).__name__} has its own {changed}'
        if model._forward_hooks or model._forward_pre_hooks:
            return 'the model has forward hooks'
        for name, module in head.named_modules(prefix='decode_head'):
            if module._forward_hooks or module._forward_pre_hooks:
                return f'{name} has forward hooks'
        if not all(map(_is_plain, cls.blocks(head))):
            return 'a block is not a zero-padded convolution, a batch norm with running statistics and an activation'
        return None


def _changed(instance: Any, original: type, names: Sequence[str]) -> str | None:
    """The first method that is not the one of a class."""
    for name in names:
        own = getattr(type(instance), name, None)
        if own is not getattr(original, name, None) or name in vars(instance):
            return name
    return None


def _is_input(model: Any, layer: str) -> bool:
    path, index = split_layer(layer)
    head, outputs = model.decode_head, len(getattr(model.backbone, 'out_indices', ()))
    if path != 'backbone' or model.with_neck or head.input_transform is not None or not outputs:
        return False
    return (0 if index is None else index) % outputs == head.in_index % outputs


def _is_plain(block: Any) -> bool:
    norm = block.norm
    return (
        type(block.conv) is nn.Conv2d
        and block.conv.padding_mode == 'zeros'
        and not block.with_explicit_padding
        and not block.with_spectral_norm
        and block.order == ('conv', 'norm', 'act')
        and getattr(block, 'efficient_conv_bn_eval_forward', None) is None
        and isinstance(norm, nn.modules.batchnorm._BatchNorm)
        and norm.running_var is not None
        and block.with_activation
    )
