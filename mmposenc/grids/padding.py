"""The same weights with another padding, and the total stride up to any tensor: both watch what a forward calls."""

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

PADDINGS = ('circular', 'reflect', 'replicate')
_AVG_POOL = ('input', 'kernel_size', 'stride', 'padding', 'ceil_mode', 'count_include_pad', 'divisor_override')
_MAX_POOL = ('input', 'kernel_size', 'stride', 'padding', 'dilation', 'ceil_mode', 'return_indices')
_MAX_POOLS = (torch.max_pool2d, F.max_pool2d, F.max_pool2d_with_indices, vars(F)['_max_pool2d'])
_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    torch.conv2d: ('input', 'weight', 'bias', 'stride', 'padding', 'dilation', 'groups'),
    F.avg_pool2d: _AVG_POOL,
    **dict.fromkeys(_MAX_POOLS, _MAX_POOL),
}
"""Convolutions and pools, and their arguments in order."""


class Padding(TorchFunctionMode):
    """Pad every convolution and pool in another way while the block runs, with the same weights.

    It replaces the padding of each call of `conv2d`, `max_pool2d`, `avg_pool2d` and `pad` on maps (N, C, H, W), of
    whatever module: padded layers, TF-"same" ones with their own left and right amounts, blur pools, padded max-pools,
    pools that round their size up. With 'circular', global average pooling is exactly invariant to moves by the total
    stride, if that divides the image's sides and nothing is computed without padding. Calls inside TorchScript and
    other kernels are not seen. `mode` is 'circular', 'reflect' or 'replicate'.

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
        if func is F.pad:
            call = _by_name(('input', 'pad'), args, kwargs)
            if call['input'].ndim == 4 and len(call['pad']) == 4 and min(call['pad']) >= 0:
                return pad_maps(call['input'], call['pad'], self.mode)
        elif func in _ARGUMENTS:
            call = _by_name(_ARGUMENTS[func], args, kwargs)
            call['input'] = pad_maps(call['input'], _amounts(call), self.mode)
            call['padding'] = 0
            return func(**call if func is torch.conv2d else {**call, 'ceil_mode': False})
        return func(*args, **(kwargs or {}))


def pad_maps(maps: Tensor, amounts: Sequence[int], mode: str) -> Tensor:
    """Pad the last two dimensions by (left, right, top, bottom) px, also wider than the map."""
    for dim, before, after in ((-1, *amounts[:2]), (-2, *amounts[2:])):
        if before or after:
            size = maps.shape[dim]
            places = [_source(mode, place, size) for place in (*range(-before, 0), *range(size, size + after))]
            border = [maps.narrow(dim, place, 1) for place in places]
            maps = torch.cat([*border[:before], maps, *border[before:]], dim)  # keeps channels_last
    return maps


def _source(mode: str, place: int, size: int) -> int:
    """Which place of the map a place outside is filled from."""
    if mode == 'circular':
        return place % size
    if mode == 'reflect' and size > 1:
        place = abs(place) % (2 * size - 2)
        return min(place, 2 * size - 2 - place)
    return min(max(place, 0), size - 1)


def _amounts(call: dict[str, Any]) -> list[int]:
    """How far a convolution or pool reaches past the left, right, top and bottom border, in px."""
    amounts = []
    for axis in (1, 0):
        kernel = call['weight'].shape[2 + axis] if 'weight' in call else _pair(call['kernel_size'])[axis]
        reach = _pair(call.get('dilation', 1))[axis] * (kernel - 1)
        padding = call.get('padding', 0)
        if isinstance(padding, str):
            reach = reach if padding == 'same' else 0
            before, after = reach // 2, reach - reach // 2
        else:
            before = after = _pair(padding)[axis]
        if call.get('ceil_mode'):
            size, step = call['input'].shape[axis - 2] + before, _pair(_stride(call))[axis]
            windows = ceil((size + after - reach - 1) / step) + 1
            windows -= (windows - 1) * step >= size  # the last window must begin inside
            after = max((windows - 1) * step + reach + 1 - size, after)
        amounts += [before, after]
    return amounts


def _by_name(names: Sequence[str], args: tuple, kwargs: dict | None) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **(kwargs or {})}


def _pair(value: Any) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return (values[0], values[-1])


def _stride(call: dict[str, Any]) -> Any:
    """The stride, which pools take from their kernel if none is given."""
    return call.get('stride') or call.get('kernel_size', 1)


class TotalStride(TorchFunctionMode):
    """Follow the product of strides from the images to every tensor that is computed while the block runs.

    Convolutions, pools, slices with a step and `pixel_unshuffle` multiply it, everything else passes on the largest
    of its inputs. A pool or convolution that covers its whole input is a global one, not a stride. Where a tensor comes
    from code that is not seen (TorchScript), the largest stride so far is taken.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.largest = 1
        images._total_stride = 1  # type: ignore[attr-defined]

    def of(self, tensor: Tensor) -> int:
        """The total stride up to a tensor."""
        return getattr(tensor, '_total_stride', self.largest)

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        tensors = [tensor for tensor in _tensors(output) if tensor.ndim]
        known = [t._total_stride for t in _tensors((args, kwargs)) if hasattr(t, '_total_stride')]
        factor = _factor(func, args, kwargs, tensors[0]) if tensors else 1
        if factor > 1 and not known:
            known = [self.largest]
        if known:
            for tensor in tensors:
                tensor._total_stride = max(known) * factor  # type: ignore[attr-defined]
                self.largest = max(self.largest, tensor._total_stride)  # type: ignore[attr-defined]
        return output


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _factor(func: Callable, args: tuple, kwargs: dict | None, output: Tensor) -> int:
    if func is Tensor.__getitem__:
        steps = args[1] if isinstance(args[1], tuple) else (args[1],)
        return max((item.step or 1 for item in steps if isinstance(item, slice)), default=1)
    if func is F.pixel_unshuffle:
        return _by_name(('input', 'downscale_factor'), args, kwargs)['downscale_factor']
    if func in _ARGUMENTS and output.shape[-2:] != (1, 1):
        return max(_pair(_stride(_by_name(_ARGUMENTS[func], args, kwargs))))
    return 1
