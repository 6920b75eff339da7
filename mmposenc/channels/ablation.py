"""Channels switched off while a network runs (Sec. 4.2.2)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmposenc.channels.channel_choice import check_channels
from mmposenc.layers import find_module, replace_output, select_output


@dataclass
class Ablation:
    """What `ablate_channels` has done so far (ours).

    Args:
        layer: Where the channels are switched off.
        channels: The channels that are switched off.
        calls: Calls of the layer that were changed. Still 0 after a forward: the forward does not pass through the
            layer, or a compiled copy of it that knows no hooks.
    """

    layer: str
    channels: tuple[int, ...]
    calls: int = 0


@contextmanager
def ablate_channels(
    model: nn.Module,
    layer: str,
    channels: Sequence[int],
    value: float | Tensor = 0.0,
    num_channels: int | None = None,
) -> Iterator[Ablation]:
    """Switch channels of a layer off while the block runs (Sec. 4.2.2).

    The layer's output is replaced by a copy; the activation itself and the weights are never written to. Blocks may be
    nested, at one layer or at several. Nothing stays behind, also after an exception.

    Args:
        model: Any network.
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        channels: What to switch off, each channel once; none is allowed and changes nothing.
        value: What the channels give instead: a number, 0 in the paper, or (C,) numbers in channel order, such as the
            data set's means (ours: the scores of a 'mean_activation' ranking).
        num_channels: The C that the channels were chosen among; a layer with another C is then refused.

    Raises:
        ValueError: On entry, if the layer does not exist or the channels are negative or repeated; in the forward, if
            the layer has fewer channels than that or gives a tuple of several tensors.

    Example:
        >>> with ablate_channels(model, 'layer4', top_channels(ranking, 100)):
        ...     model(images)
    """
    chosen = check_channels(channels)
    if isinstance(value, Tensor) and value.ndim > 1:
        raise ValueError(f'value must be a number or a tensor (C,), got shape {tuple(value.shape)}')
    done = Ablation(layer, chosen)

    def hook(module: nn.Module, args: tuple, output: object) -> object:
        features = select_output(output, layer)
        _check_width(features.shape[1], layer, chosen, value, num_channels)
        done.calls += 1
        return replace_output(output, layer, _switched_off(features, chosen, value)) if chosen else output

    handle = find_module(model, layer).register_forward_hook(hook)
    try:
        yield done
    finally:
        handle.remove()


def _switched_off(features: Tensor, channels: tuple[int, ...], value: float | Tensor) -> Tensor:
    index = torch.tensor(channels, device=features.device)
    if not isinstance(value, Tensor) or value.ndim == 0:
        return features.index_fill(1, index, value)
    fill = value.to(features)[index].view(-1, *[1] * (features.ndim - 2))
    changed = features.clone()
    changed[:, index] = fill
    return changed


def _check_width(
    width: int, layer: str, channels: tuple[int, ...], value: float | Tensor, num_channels: int | None
) -> None:
    if num_channels is not None and width != num_channels:
        raise ValueError(
            f'layer {layer!r} has {width} channels, but the channels were chosen among {num_channels}: '
            f'the ranking is of another model or layer'
        )
    if channels and max(channels) >= width:
        raise ValueError(
            f'layer {layer!r} has {width} channels, so channels must be from 0 to {width - 1}, got {max(channels)}: '
            f'the ranking is of another model or layer'
        )
    if isinstance(value, Tensor) and value.ndim == 1 and len(value) != width:
        raise ValueError(f'value must hold one number for each of the {width} channels of {layer!r}, got {len(value)}')
