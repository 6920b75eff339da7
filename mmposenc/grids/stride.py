"""The total stride of a network up to any of its tensors, measured while it runs."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mmposenc.grids.padding import MAX_POOLS

_STRIDED: tuple[Callable, ...] = (torch.conv2d, F.avg_pool2d, *MAX_POOLS)


class TotalStride(TorchFunctionMode):
    """Follow the product of strides from the images to every tensor that is computed while the block runs.

    Convolutions, pools, slices with a step and `pixel_unshuffle` multiply it, everything else hands on the largest of
    its inputs. A pool or convolution that covers its whole input is a global one, not a stride. Where a tensor comes
    from code that is not seen (TorchScript), the largest stride so far is taken.

    Example:
        >>> conv, image = torch.nn.Conv2d(3, 1, 3, stride=2), torch.rand(1, 3, 16, 16)
        >>> with TotalStride(image) as strides:
        ...     maps = torch.nn.functional.max_pool2d(conv(image), 2)
        >>> strides.of(maps)
        4
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
        if not tensors:
            return output
        known = [t._total_stride for t in _tensors((args, kwargs)) if hasattr(t, '_total_stride')]
        factor = _factor(func, args, kwargs or {}, tensors[0])
        if factor > 1 and not known:
            known = [self.largest]
        if known:
            total = max(known) * factor
            self.largest = max(self.largest, total)
            for tensor in tensors:
                tensor._total_stride = total  # type: ignore[attr-defined]
        return output


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _factor(func: Callable, args: tuple, kwargs: dict, output: Tensor) -> int:
    if func is Tensor.__getitem__:
        steps = args[1] if isinstance(args[1], tuple) else (args[1],)
        return max((item.step or 1 for item in steps if isinstance(item, slice)), default=1)
    if func is F.pixel_unshuffle:
        return kwargs.get('downscale_factor') or args[1]
    if func in _STRIDED and output.shape[-2:] != (1, 1):
        # conv2d(input, weight, bias, stride), pool(input, kernel_size, stride)
        place = 3 if func is torch.conv2d else 2
        stride = kwargs.get('stride', args[place] if len(args) > place else None)
        if stride is None or stride == []:
            stride = 1 if func is torch.conv2d else kwargs.get('kernel_size', args[1] if len(args) > 1 else 1)
        return max(stride) if isinstance(stride, (tuple, list)) else stride
    return 1
