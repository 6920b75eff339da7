"""Channels that are ablated while a network runs: which ones, and how (Sec. 4.2.2, Fig. 4)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import index
from reprlib import repr as short
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
        layer, channel_dim: See `mmposenc.layers.layer_hook`.
        channels: What to ablate, each channel once; an empty list changes nothing.
        value: What the channels give instead: a number, 0 in the paper, or (C,) numbers in channel order, such as the
            data set's means (the scores of a 'mean_activation' ranking).
        num_channels: The C that the channels were chosen among; a layer with another C is then refused.
        allow_repeats: Ablate a layer that runs several times per forward, as under sliding windows.

    ValueError if the layer does not exist, has fewer channels or no established layout, or does not run exactly once in
    each forward.

    Example:
        >>> model = torchvision.models.resnet18().eval()
        >>> with ablate_channels(model, 'layer4', range(100)):
        ...     scores = model(torch.rand(2, 3, 32, 32))
    """
    chosen = check_channels(channels)
    last = max(chosen, default=0)
    if not isinstance(value, (int, float, Tensor)):
        value = torch.as_tensor(value)
    ran = False
    forward = local()  # DataParallel runs a copy of the network in a thread for each device.

    def ablate(features: Tensor, layout: Layout) -> Tensor | None:
        nonlocal ran
        ran, width, wrong = True, features.shape[layout.channel_dim], ''
        if num_channels not in (None, width):
            wrong = f'but the channels were chosen among {num_channels}'
        elif last >= width:
            wrong = f'so channels must be from 0 to {width - 1}, got {last}'
        if wrong:
            raise ValueError(f'layer {layer!r} has {width} channels, {wrong}: the ranking is of another model or layer')
        if isinstance(value, Tensor) and value.shape not in ((), (width,)):
            form = f'a number, or {width} of them, one for each channel of {layer!r}'
            raise ValueError(f'value must be {form}; got shape {tuple(value.shape)}')
        forward.calls = getattr(forward, 'calls', 0) + 1
        return ablated(features, chosen, value, layout.channel_dim) if chosen else None

    def begin(module: nn.Module, args: tuple) -> None:
        forward.calls = 0

    def check(module: nn.Module, args: tuple, output: object) -> None:
        if forward.calls != 1 and not (forward.calls and allow_repeats):
            advice = 'name a layer that the forward passes through once'
            raise ValueError(f'layer {layer!r} must run once per forward, but ran {forward.calls} times: {advice}')

    root = unwrap_model(model)
    hook = layer_hook(model, layer, ablate, channel_dim, prefix_tokens=0)
    with hook, root.register_forward_pre_hook(begin), root.register_forward_hook(check):
        yield
    if not ran:
        advice = 'run the model in the block, and name a layer that the forward passes through'
        raise ValueError(f'layer {layer!r} did not run, so nothing was ablated: {advice}')


def ablated(features: Tensor, channels: Sequence[int], value: float | Tensor = 0.0, channel_dim: int = 1) -> Tensor:
    """A copy of a layer's output in which some channels give `value` instead: a number, or (C,) numbers."""
    chosen = torch.as_tensor(channels, dtype=torch.long, device=features.device)
    if not isinstance(value, Tensor) or value.ndim == 0:
        return features.index_fill(channel_dim, chosen, float(value))
    changed = features.clone()
    changed.movedim(channel_dim, -1)[..., chosen] = value.to(features)[chosen]
    return changed


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
    start = whole_number('start', start, ranking.num_channels)
    size = whole_number('size' if start else 'num_channels', size, ranking.num_channels - start)
    return tuple(ranking.order[start : start + size])


def random_channels(num_total: int, num_channels: int, seed: int) -> tuple[int, ...]:
    """N of C channels drawn at random without replacement, the control of Fig. 4 (Sec. 4.2.2).

    The draws of one seed are nested: a smaller N gives the beginning of a larger one.

    Example:
        >>> random_channels(8, 3, seed=0)
        (4, 0, 7)
    """
    num_channels = whole_number('num_channels', num_channels, num_total)
    shuffled = torch.randperm(num_total, generator=torch.Generator().manual_seed(index(seed)))
    return tuple(shuffled[:num_channels].tolist())


def matched_random_channels(
    ranking: Ranking, activation: Sequence[float], num_channels: int, seed: int, bins: int = 10
) -> tuple[int, ...]:
    """N channels drawn at random that match the ranking's top N in strength.

    Channels are exchanged at random within `bins` bins of equally many channels by mean activation (`activation` of the
    C channels, such as the scores of a 'mean_activation' ranking), so that every top N holds as many channels of each
    bin as the ranking's. The draws of one seed are nested.
    """
    total = ranking.num_channels
    num_channels = whole_number('num_channels', num_channels, total)
    if len(activation) != total:
        raise ValueError(f'activation must hold one number for each of the {total} channels, got {len(activation)}')
    generator = torch.Generator().manual_seed(index(seed))
    exchanged = torch.empty(total, dtype=torch.long)
    for members in torch.tensor(activation, dtype=torch.float64).argsort(stable=True).tensor_split(bins):
        exchanged[members] = members[torch.randperm(len(members), generator=generator)]
    return tuple(exchanged[list(ranking.order[:num_channels])].tolist())


def check_channels(channels: Sequence[int]) -> tuple[int, ...]:
    """The channels as integers, refused if one is negative or repeated."""
    chosen = tuple(whole_numbers('channels', channels))
    if repeated := [channel for channel, times in Counter(chosen).items() if times > 1]:
        raise ValueError(f'channels must hold each channel once, but {repeated[0]} is repeated')
    return chosen


def whole_number(name: str, number: int, largest: int | None = None) -> int:
    """The number as int, refused if it is no integer, negative, or above `largest`, the channels there are."""
    try:
        whole = index(number)
    except TypeError:
        raise TypeError(f'{name} must be an integer, got {short(number)}') from None
    if whole < 0 or (largest is not None and whole > largest):
        allowed = '0 or more' if largest is None else f'from 0 to {largest}, the channels there are'
        raise ValueError(f'{name} must be {allowed}, got {whole}')
    return whole


def whole_numbers(name: str, numbers: Iterable[int], largest: int | None = None) -> list[int]:
    """The same for a list."""
    try:
        listed = [index(number) for number in numbers]
    except TypeError:
        raise TypeError(f'{name} must be a list of integers, got {short(numbers)}') from None
    return [whole_number(name, number, largest) for number in listed]
