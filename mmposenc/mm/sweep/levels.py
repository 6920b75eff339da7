"""How much of a forward the variants of a sweep can share, and what the sweep then costs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from mmseg.models import ASPPHead
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmposenc.channels.sweep import SweepPlan
from mmposenc.layers import find_module, split_layer

POOLED_LAYER = 'decode_head.image_pool.0'
LEVELS = ('auto', '1', '2', '3')


class SweepLevel(NamedTuple):
    """What the variants at one layer share (ours).

    Args:
        level: 1, nothing: a whole forward each. 2, the backbone. 3, of mmseg's ASPPHead (DeepLabv3), also every
            convolution that is linear in the channels.
        reason: Why not a higher one, or what is shared.
    """

    level: int
    reason: str


def choose_level(model: nn.Module, layer: str, wanted: str = 'auto') -> SweepLevel:
    """The highest level that a layer of a model allows, or the one that is wanted (ours).

    Args:
        model: The network, without wrappers.
        layer: Where channels are switched off.
        wanted: One of `LEVELS`.

    Raises:
        ValueError: If the layer does not exist, or does not allow the wanted level.
    """
    if wanted not in LEVELS:
        raise ValueError(f'level must be one of {", ".join(LEVELS)}, got {wanted!r}')
    find_module(model, layer)
    best = _best_level(model, layer)
    if wanted == 'auto':
        return best
    if int(wanted) > best.level:
        raise ValueError(f'level {wanted} is not possible at {layer!r}: {best.reason}. Use level {best.level} or auto')
    return best if int(wanted) == best.level else SweepLevel(int(wanted), 'as asked')


def _best_level(model: Any, layer: str) -> SweepLevel:
    path, _ = split_layer(layer)
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        return SweepLevel(1, 'the model has no backbone to share')
    if path.startswith('backbone.'):
        return SweepLevel(1, 'the layer lies inside the backbone, which has to run for each variant')
    obstacle = _obstacle(model, layer)
    if obstacle:
        return SweepLevel(2, f'the backbone is shared, and no more as {obstacle}')
    if layer == POOLED_LAYER:
        return SweepLevel(3, 'all but the pooling branch of ASPPHead is shared')
    return SweepLevel(3, 'the convolutions of ASPPHead are shared between nested sets of channels')


def _obstacle(model: Any, layer: str) -> str | None:
    """Why level 3 does not apply."""
    head: Any = getattr(model, 'decode_head', None)
    if type(head) is not ASPPHead:
        return f'the head is {type(head or getattr(model, "head", None)).__name__}, not ASPPHead'
    if layer != POOLED_LAYER and not _is_input(model, head, layer):
        return f'the layer is neither {POOLED_LAYER} nor what the head gets from the backbone'
    for block in (head.image_pool[1], *head.aspp_modules, head.bottleneck):
        plain = (
            type(block.conv) is nn.Conv2d
            and block.conv.padding_mode == 'zeros'
            and not block.with_explicit_padding
            and not block.with_spectral_norm
            and block.order == ('conv', 'norm', 'act')
            and getattr(block, 'efficient_conv_bn_eval_forward', None) is None
        )
        norm = block.norm
        if not plain or not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_var is None:
            return 'its blocks are not of a zero-padded convolution and a batch norm with running statistics'
        if not block.with_activation:
            return 'its blocks have no activation'
    return None


def _is_input(model: Any, head: ASPPHead, layer: str) -> bool:
    path, index = split_layer(layer)
    outputs = len(getattr(model.backbone, 'out_indices', ()))
    if path != 'backbone' or model.with_neck or head.input_transform is not None or not outputs:
        return False
    return (0 if index is None else index) % outputs == head.in_index % outputs


@torch.no_grad()
def module_shares(model: nn.Module, forward: Callable[[], Any]) -> dict[str, float]:
    """The share of a forward's multiply-adds that each module has, by its path (ours).

    Args:
        model: The network.
        forward: Runs it once.
    """
    with FlopCounterMode(display=False) as counter:
        forward()
    root = type(model).__name__
    counts = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    total = max(counts.get('Global', 0), 1)
    return {name.removeprefix(f'{root}.'): count / total for name, count in counts.items()}


def expected_passes(plan: SweepPlan, levels: Mapping[str, SweepLevel], shares: Mapping[str, float]) -> float:
    """Cost of a sweep in whole forwards per image, by multiply-adds (ours).

    Args:
        plan: What is swept.
        levels: By layer.
        shares: From `module_shares`.
    """
    passes = 1.0
    classifier = shares.get('decode_head.conv_seg', 0.0)
    for group in plan.groups:
        level, runs = levels[group.layer].level, len(group.runs)
        if level == 1:
            passes += runs
        elif level == 2:
            passes += runs * (1 - shares.get('backbone', 0.0))
        elif group.layer == POOLED_LAYER:
            passes += runs * classifier
        elif runs:
            convolved = max(stop for _, stop in group.slices) / plan.total
            passes += convolved * shares.get('decode_head.aspp_modules', 0.0)
            passes += runs * (shares.get('decode_head.bottleneck', 0.0) + classifier)
    return passes
