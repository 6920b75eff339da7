"""What the shared heads have in common: when a head may stand in for the network, and variants behind its pooling.

In each, branches of the same features are joined by a 3x3 convolution, the bottleneck; a classifier of pixels follows.
A pooled branch is a global average, a 1x1 convolution, and a map that is constant over its pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from mmseg.models import EncoderDecoder
from torch import Tensor, nn

from mmposenc.channels.shared_heads import (
    BranchVector,
    ConstantShares,
    PooledBranch,
    VariantLogits,
    norm_scale,
    recorded,
)
from mmposenc.layers import split_layer

Watched = tuple[dict[str, nn.Module], dict[str, nn.Module]]

# What a variant leaves out or does in its own way; a model that changes one of them is run as it is.
_MODEL_METHODS = ['forward', '_forward', 'predict', 'inference', 'whole_inference', 'encode_decode', 'extract_feat']
_MODEL_METHODS += ['postprocess_result']
_HEAD_METHODS = ['forward', '_forward_feature', '_transform_inputs', 'predict', 'predict_by_feat', 'cls_seg']


class SharedHead(ABC):
    """The decode head of a segmentor in evaluation mode, and how its variants are computed without running it for each.

    `layer` is a pooled layer of the head, or what the head gets from the backbone; else `obstacle` says so.
    """

    def __init__(self, model: Any, layer: str) -> None:
        self.model, self.layer, self.head = model, layer, model.decode_head
        self.pools = self.find_pools()
        self.pool = self.pools.get(layer)

    @abstractmethod
    def find_pools(self) -> dict[str, tuple[Any, Tensor]]:
        """By its pooling's name, each branch of a global average pooling and a block, and the kernel that joins it."""

    @abstractmethod
    def blocks(self) -> Sequence[Any]:
        """The blocks of convolution, batch norm and activation that are taken apart."""

    @abstractmethod
    def watched_branches(self) -> Watched:
        """`watched` for a layer that every branch sees."""

    @abstractmethod
    def all_branches(self, seen: dict[str, Tensor]) -> VariantLogits:
        """`variants` for a layer that every branch sees."""

    def tail(self, seen: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """From what the bottleneck's norm gives, (n, c, h, w), to the logits."""
        return lambda maps: self.head.cls_seg(self.head.bottleneck.activate(maps))

    def watched(self) -> Watched:
        """The modules whose output in an ordinary forward is needed, and those whose input is, by name."""
        if self.pool is None:
            return self.watched_branches()
        return {'pooled': self.pool[0][0], 'bottleneck': self.head.bottleneck.conv}, {}

    def record(self) -> AbstractContextManager[dict[str, Tensor]]:
        """Record one ordinary forward of a batch while the block runs."""
        return recorded(*self.watched())

    def variants(self, seen: dict[str, Tensor]) -> VariantLogits:
        """The variants of one image; `seen` is the record, one image of each tensor."""
        if self.pool is None:
            return self.all_branches(seen)
        joined = self.head.bottleneck.norm(seen['bottleneck'])
        branch = BranchVector(self.pool[0][1], seen['pooled'])
        return PooledBranch(branch, self.shares[self.layer], joined, self.tail(seen))

    @cached_property
    def shares(self) -> dict[str, ConstantShares]:
        """What the output of each pooled branch adds to the bottleneck's."""
        scale = norm_scale(self.head.bottleneck.norm)
        return {name: ConstantShares(kernel, scale) for name, (_, kernel) in self.pools.items()}

    def obstacle(self) -> str | None:
        """Why the head cannot stand in for the model at this layer; None if it can."""
        model, head = self.model, self.head
        if self.pool is None and not self._gets_layer():
            pooled = ' or '.join(self.pools) or 'a pooled layer'
            return f'the layer is neither {pooled} nor what the head gets from the backbone'
        own = [
            name
            for name in _MODEL_METHODS
            if name in vars(model) or getattr(type(model), name, None) is not getattr(EncoderDecoder, name, None)
        ]
        if own := own + [name for name in _HEAD_METHODS if name in vars(head)]:
            return f'{type(model).__name__} has its own {own[0]}'
        for name, module in [('the model', model), *head.named_modules(prefix='decode_head')]:
            if module._forward_hooks or module._forward_pre_hooks:
                return f'{name} has forward hooks'
        if not all(map(_is_plain, self.blocks())):
            return 'a block is not a zero-padded convolution, a batch norm with running statistics and an activation'
        return None

    def _gets_layer(self) -> bool:
        """Whether the head gets the layer from the backbone, and nothing else."""
        path, index = split_layer(self.layer)
        outputs = len(getattr(self.model.backbone, 'out_indices', ()))
        if path != 'backbone' or self.model.with_neck or self.head.input_transform is not None or not outputs:
            return False
        return (index or 0) % outputs == self.head.in_index % outputs


def _is_plain(block: Any) -> bool:
    norm = block.norm
    return (
        type(block.conv) is nn.Conv2d
        and block.conv.bias is None  # With a norm mmcv gives it none.
        and block.conv.padding_mode == 'zeros'
        and not block.with_explicit_padding
        and not block.with_spectral_norm
        and block.order == ('conv', 'norm', 'act')
        and getattr(block, 'efficient_conv_bn_eval_forward', None) is None
        and isinstance(norm, nn.modules.batchnorm._BatchNorm)
        and norm.running_var is not None
        and block.with_activation
    )
