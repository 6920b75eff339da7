"""Channels that are ablated while a network runs: which ones, and how (Sec. 4.2.2, Fig. 4)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import index
from threading import local

import torch
from torch import Tensor, nn

from mmposenc.layers import Layout, layer_hook, unwrap_model
from mmposenc.ranking import Ranking


@contextmanager
def ablate_channels(
    model: nn.Module,
    layer: str,
    channels: Sequence[int],
    value: float | Tensor | Sequence[float] = 0.0,
    num_channels: int | None = None,
    channel_dim: int | None = None,
    allow_repeats: bool = False,
) -> Iterator[None]:
    """Ablate channels of a layer of any network while the block runs (Sec. 4.2.2).

    The layer's output is replaced by a copy; activations and weights are never written to. In tokens a channel is
    ablated everywhere, class tokens included. Blocks may be nested; compiled modules run eagerly. With gradient
    checkpointing, call `backward()` inside the block, since it runs the layer again.

    Args:
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        channels: What to ablate, each channel once; an empty list changes nothing.
        value: What the channels give instead: a number, 0 in the paper, or (C,) numbers in channel order, such as the
            data set's means (the scores of a 'mean_activation' ranking).
        num_channels: The C that the channels were chosen among; a layer with another C is then refused.
        channel_dim: Dimension of the channels; None to establish it (see `mmposenc.layers.layer_hook`).
        allow_repeats: Ablate a layer that runs several times per forward, as under sliding windows.

    Raises:
        ValueError: If the layer does not exist or has fewer channels, its layout is not established, or it does not run
            exactly once in each forward.

    Example:
        >>> model = torchvision.models.resnet18().eval()
        >>> with ablate_channels(model, 'layer4', range(100)):
        ...     scores = model(torch.rand(2, 3, 32, 32))
    """
    chosen = check_channels(channels)
    if not isinstance(value, (int, float, Tensor)):
        value = torch.as_tensor(value)
    if isinstance(value, Tensor) and value.ndim > 1:
        raise ValueError(f'value must be a number or a tensor (C,), got shape {tuple(value.shape)}')
    ran = False
    forward = local()  # DataParallel runs a copy of the network in a thread for each device.

    def ablate(features: Tensor, layout: Layout) -> Tensor | None:
        nonlocal ran
        ran = True
        _check_width(features.shape[layout.channel_dim], layer, chosen, value, num_channels)
        forward.calls = getattr(forward, 'calls', 0) + 1
        return ablated(features, chosen, value, layout.channel_dim) if chosen else None

    def begin(module: nn.Module, args: tuple) -> None:
        forward.calls = 0

    def check(module: nn.Module, args: tuple, output: object) -> None:
        if forward.calls != 1 and not (forward.calls and allow_repeats):
            raise ValueError(
                f'layer {layer!r} must run once per forward, but ran {forward.calls} times: name a layer that the '
                'forward passes through once'
            )

    root = unwrap_model(model)
    hook = layer_hook(model, layer, ablate, channel_dim, prefix_tokens=0)
    with hook, root.register_forward_pre_hook(begin), root.register_forward_hook(check):
        yield
    if not ran:
        raise ValueError(
            f'layer {layer!r} did not run, so nothing was ablated: run the model in the block, and name a layer that '
            'the forward passes through'
        )


def ablated(features: Tensor, channels: Sequence[int], value: float | Tensor = 0.0, channel_dim: int = 1) -> Tensor:
    """A copy of a layer's output in which some channels give `value` instead: a number, or (C,) numbers."""
    chosen = torch.as_tensor(channels, dtype=torch.long, device=features.device)
    if not isinstance(value, Tensor) or value.ndim == 0:
        return features.index_fill(channel_dim, chosen, float(value))
    changed = features.clone()
    changed.movedim(channel_dim, -1)[..., chosen] = value.to(features)[chosen]
    return changed


def _check_width(
    width: int, layer: str, channels: Sequence[int], value: float | Tensor, num_channels: int | None
) -> None:
    problem, last = '', max(channels, default=0)
    if num_channels not in (None, width):
        problem = f'but the channels were chosen among {num_channels}'
    elif last >= width:
        problem = f'so channels must be from 0 to {width - 1}, got {last}'
    if problem:
        raise ValueError(f'layer {layer!r} has {width} channels, {problem}: the ranking is of another model or layer')
    if isinstance(value, Tensor) and value.ndim == 1 and len(value) != width:
        raise ValueError(f'value must hold one number for each of the {width} channels of {layer!r}, got {len(value)}')


def top_channels(ranking: Ranking, num_channels: int) -> tuple[int, ...]:
    """The N top-ranked channels, highest score first (Sec. 4.2.2, Fig. 4 top).

    Example:
        >>> ranking = Ranking(layer='layer4', statistic='abs', pair='flip_image', scores=[0.1, 0.5, 0.3], num_images=9)
        >>> top_channels(ranking, 2)
        (1, 2)
    """
    return window(ranking, 0, num_channels)


def window(ranking: Ranking, start: int, size: int) -> tuple[int, ...]:
    """The channels of the ranks start to start + size - 1, rank 0 being the highest (Sec. 4.2.2, Fig. 4 bottom).

    Example:
        >>> ranking = Ranking(layer='layer4', statistic='abs', pair='flip_image', scores=[0.1, 0.5, 0.3], num_images=9)
        >>> window(ranking, 1, 2)
        (2, 0)
    """
    start = _in_range('start', start, ranking.num_channels)
    size = _in_range('size' if start else 'num_channels', size, ranking.num_channels - start)
    return tuple(ranking.order[start : start + size])


def random_channels(num_total: int, num_channels: int, seed: int) -> tuple[int, ...]:
    """N of C channels drawn at random without replacement, the control of Fig. 4 (Sec. 4.2.2).

    The draws of one seed are nested: a smaller N gives the beginning of a larger one.

    Example:
        >>> random_channels(8, 3, seed=0)
        (4, 0, 7)
    """
    num_channels = _in_range('num_channels', num_channels, num_total)
    shuffled = torch.randperm(num_total, generator=torch.Generator().manual_seed(index(seed)))
    return tuple(shuffled[:num_channels].tolist())


def matched_random_channels(
    ranking: Ranking, activation: Sequence[float], num_channels: int, seed: int, bins: int = 10
) -> tuple[int, ...]:
    """N channels drawn at random that match the ranking's top N in strength.

    Channels are exchanged at random within bins of mean activation, so that every top N holds as many channels of each
    bin as the ranking's. The draws of one seed are nested.

    Args:
        activation: Mean activation of the C channels, such as the scores of a 'mean_activation' ranking.
        bins: Number of bins, with equally many channels in each.

    Example:
        >>> ranking = Ranking(layer='layer4', statistic='abs', pair='flip_image', scores=[4, 3, 2, 1], num_images=9)
        >>> sorted(matched_random_channels(ranking, [0.2, 9.0, 0.1, 8.0], 4, seed=0, bins=2))
        [0, 1, 2, 3]
    """
    total = ranking.num_channels
    num_channels = _in_range('num_channels', num_channels, total)
    if len(activation) != total:
        raise ValueError(f'activation must hold one number for each of the {total} channels, got {len(activation)}')
    generator = torch.Generator().manual_seed(index(seed))
    exchanged = torch.empty(total, dtype=torch.long)
    for members in torch.tensor(activation, dtype=torch.float64).argsort(stable=True).tensor_split(bins):
        exchanged[members] = members[torch.randperm(len(members), generator=generator)]
    return tuple(exchanged[list(ranking.order[:num_channels])].tolist())


def check_channels(channels: Sequence[int]) -> tuple[int, ...]:
    """The channels as integers, refused if one is negative or repeated."""
    try:
        chosen = tuple(index(channel) for channel in channels)
    except TypeError:
        raise TypeError(f'channels must be a list of integers, got {channels!r:.60}') from None
    if chosen and min(chosen) < 0:
        raise ValueError(f'channels must be 0 or more, got {min(chosen)}')
    if repeated := [channel for channel, times in Counter(chosen).items() if times > 1]:
        raise ValueError(f'channels must hold each channel once, but {repeated[0]} is repeated')
    return chosen


def _in_range(name: str, value: int, largest: int) -> int:
    if not 0 <= (number := index(value)) <= largest:
        raise ValueError(f'{name} must be from 0 to {largest}, the channels there are, got {number}')
    return number
