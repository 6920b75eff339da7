"""The same weights with another padding, and without learned position: what the probe compares a network with."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

PADDINGS = ('circular', 'reflect', 'replicate')
_EMBEDDING = re.compile(r'(abs(olute)?_)?pos(ition(al)?)?_(emb|embed|embedding|embeddings)')


class Padding(TorchFunctionMode):
    """Pad every convolution and pool in another way while the block runs, with the same weights.

    It replaces the padding of each call of `conv2d`, `max_pool2d`, `avg_pool2d` and `pad` on maps (N, C, H, W), of
    whatever module: padded layers, TF-"same" ones with their own left and right amounts, blur pools, padded max-pools
    (a ResNet's alone leaves 10 to 22% of position), pools that round their size up. With 'circular', global average
    pooling is exactly invariant to moves by the total stride, if that divides the image's sides and nothing is computed
    without padding. Calls inside TorchScript and other kernels are not seen.

    Args:
        mode: 'circular', 'reflect' or 'replicate'.

    Example:
        >>> conv = torch.nn.Conv2d(1, 1, 3, padding=1)
        >>> image = torch.rand(1, 1, 8, 8)
        >>> with Padding('circular'):
        ...     moved = conv(image.roll(3, -1))
        ...     torch.testing.assert_close(moved, conv(image).roll(3, -1))
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in PADDINGS:
            raise ValueError(f'padding must be one of {", ".join(PADDINGS)}, got {mode!r}')
        self.mode = mode

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        replacement = _REPLACED.get(func)
        return func(*args, **kwargs) if replacement is None else replacement(self.mode, func, *args, **kwargs)


def pad_maps(maps: Tensor, amounts: Sequence[int], mode: str) -> Tensor:
    """Pad the last two dimensions by (left, right, top, bottom) px, also wider than the map."""
    for dim, before, after in ((-1, *amounts[:2]), (-2, *amounts[2:])):
        if before or after:
            maps = maps.index_select(dim, _border(mode, maps.shape[dim], before, after, maps.device))
    return maps


def _border(mode: str, size: int, before: int, after: int, device: torch.device) -> Tensor:
    places = torch.arange(-before, size + after, device=device)
    if mode == 'circular':
        return places % size
    if mode == 'reflect' and size > 1:
        places = places.abs() % (2 * size - 2)
        return torch.minimum(places, 2 * size - 2 - places)
    return places.clamp(0, size - 1)


def _conv(
    mode: str,
    func: Callable,
    /,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    amounts = []
    for axis in (1, 0):
        reach = _pair(dilation)[axis] * (weight.shape[2 + axis] - 1)
        if padding == 'same':
            amounts += [reach // 2, reach - reach // 2]
        else:
            amounts += [0 if padding == 'valid' else _pair(padding)[axis]] * 2
    return func(pad_maps(input, amounts, mode), weight, bias, stride, 0, dilation, groups)


def _max_pool(
    mode: str,
    func: Callable,
    /,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    maps = _pad_pool(mode, input, kernel_size, stride, padding, dilation, ceil_mode)
    return func(maps, kernel_size, stride, 0, dilation, False, *[return_indices] * (func is not torch.max_pool2d))


def _avg_pool(
    mode: str,
    func: Callable,
    /,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    maps = _pad_pool(mode, input, kernel_size, stride, padding, 1, ceil_mode)
    return F.avg_pool2d(maps, kernel_size, stride, 0, divisor_override=divisor_override)


def _pad_pool(
    mode: str, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Tensor:
    amounts = []
    for axis in (1, 0):
        size, before = input.shape[axis - 2], _pair(padding)[axis]
        step = _pair(stride or kernel_size)[axis]
        reach = _pair(dilation)[axis] * (_pair(kernel_size)[axis] - 1) + 1
        after = before
        if ceil_mode:
            windows = ceil((size + 2 * before - reach) / step) + 1
            windows -= (windows - 1) * step >= size + before  # the last window must begin inside
            after = max((windows - 1) * step + reach - size - before, before)
        amounts += [before, after]
    return pad_maps(input, amounts, mode)


def _pad(mode: str, func: Callable, /, input: Tensor, pad: Any, *args: Any, **kwargs: Any) -> Tensor:
    if input.ndim == 4 and len(pad) == 4 and min(pad) >= 0:
        return pad_maps(input, pad, mode)
    return func(input, pad, *args, **kwargs)


def _pair(value: Any) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return (values[0], values[-1])


MAX_POOLS: tuple[Callable, ...] = (torch.max_pool2d, F.max_pool2d, F.max_pool2d_with_indices, vars(F)['_max_pool2d'])
_REPLACED: dict[Any, Callable] = {
    torch.conv2d: _conv,
    F.pad: _pad,
    F.avg_pool2d: _avg_pool,
    **dict.fromkeys(MAX_POOLS, _max_pool),
}


@contextmanager
def without_position_embedding(model: nn.Module) -> Iterator[list[str]]:
    """Set learned absolute position embeddings to zero while the block runs.

    Yields the names of the tensors that were zeroed: parameters and buffers called `pos_embed`, `pos_embedding`,
    `position_embeddings` or alike, and the weights of `nn.Embedding` modules of such names. Relative biases stay.
    """
    found = {}
    for path, module in model.named_modules():
        embedding = isinstance(module, nn.Embedding) and _EMBEDDING.fullmatch(path.rpartition('.')[2])
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if embedding or _EMBEDDING.fullmatch(name):
                found[f'{path}.{name}'.lstrip('.')] = tensor
    kept = {name: tensor.detach().clone() for name, tensor in found.items()}
    try:
        with torch.no_grad():
            for tensor in found.values():
                tensor.zero_()
        yield list(found)
    finally:
        with torch.no_grad():
            for name, tensor in found.items():
                tensor.copy_(kept[name])
