"""The algebra by which the variants of a segmentation head share their convolutions (the networks of Sec. 4.2).

Two facts carry it. A convolution is linear: with channels ablated it gives the ordinary sums minus those of the ablated
channels, and nested sets of channels are prefix sums of blocks. A globally pooled branch is a map that is constant over
its pixels: a zero-padded 3x3 convolution of it has nine different pixels, whatever its size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

Slices = Sequence[tuple[int, int]]
Finisher = Callable[[Sequence[int], Slices], Callable[[Tensor, list[int]], Tensor]]


class PooledBranch:
    """Variants with channels ablated behind the global average pooling of a head (Sec. 4.2.2).

    Only the constant map of the pooled branch changes. What joins the branches is linear up to its activation, so a
    variant is the ordinary forward plus what the change of the constant adds. `joined` is what the joining convolution
    gives in the ordinary forward, behind its norm, (1, K, h, w); `finish` makes the logits of such maps, (n, K, h, w),
    and may write into them.
    """

    def __init__(
        self, branch: 'BranchVector', shares: 'ConstantShares', joined: Tensor, finish: Callable[[Tensor], Tensor]
    ) -> None:
        self.branch, self.shares, self.joined, self.finish = branch, shares, joined, finish
        self.variant_bytes = 2 * joined.nbytes

    def logits(self, order: Sequence[int], slices: Slices, chunk: int) -> Iterator[tuple[list[int], Tensor]]:
        """Positions in `slices`, and the logits (n, K, h, w) of these variants, at most `chunk` at once.

        `order` holds all channels, top-ranked first; `slices` are (start, stop) of the ranks that each variant ablates.
        """
        vectors = self.branch.vectors(order, [(0, 0), *slices])
        shares = self.shares(vectors[1:] - vectors[:1], self.joined.shape[-2:])
        for first in range(0, len(slices), chunk):
            part = shares[first : first + chunk]
            yield list(range(first, first + len(part))), self.finish(add_borders(self.joined, part))


class AllBranches:
    """Variants with channels ablated in the features that every branch of a head sees (Sec. 4.2.2).

    Args:
        total: What the linear parts give in the ordinary forward, (1, S, h, w).
        added: What a block of channels adds to them, compared with the block ablated.
        finisher: For an order and its slices, the function from the linear parts (n, S, h, w), which it may write into,
            and the positions of their variants, to the logits.
    """

    def __init__(self, total: Tensor, added: Callable[[Tensor], Tensor], finisher: Finisher) -> None:
        self.total, self.added, self.finisher = total, added, finisher
        self.variant_bytes = 2 * total.nbytes

    def logits(self, order: Sequence[int], slices: Slices, chunk: int) -> Iterator[tuple[list[int], Tensor]]:
        finish = self.finisher(order, slices)
        channels = torch.tensor(list(order), device=self.total.device)
        buffer = self.total.new_empty((min(chunk, len(slices)), *self.total.shape[1:]))
        positions: list[int] = []
        variants = slices_of_sums(self.total, lambda a, b: self.added(channels[a:b]), slices)
        for number, (position, sums) in enumerate(variants, 1):
            buffer[len(positions)] = sums[0]
            positions.append(position)
            if len(positions) == len(buffer) or number == len(slices):
                yield positions, finish(buffer[: len(positions)], positions)
                positions = []


VariantLogits = PooledBranch | AllBranches
"""The variants of one image; one more at once takes `variant_bytes` of memory."""


def slices_of_sums(total: Tensor, added: Callable[[int, int], Tensor], slices: Slices) -> Iterator[tuple[int, Tensor]]:
    """Give the position of each slice, and the total without what its ranks add, in the order of the last rank.

    `added(a, b)` is what the ranks from a to b add to the total; every rank is added up once. A slice (0, 0) is left
    out. Memory holds few tensors: the total, that up to the current rank, and those where open windows began. Sums are
    in float32 at least, since rounding adds up from rank to rank.
    """
    kind = total.dtype
    total = left = total.to(torch.promote_types(kind, torch.float32))
    begun: dict[int, Tensor] = {}
    for begin, end in pairwise(sorted({0, *(bound for bounds in slices for bound in bounds)})):
        begun[begin] = left
        left = left - added(begin, end)
        for position, (start, stop) in enumerate(slices):
            if stop == end:
                yield position, (left if start == 0 else total + left - begun[start]).to(kind)
        begun = {start: sums for start, sums in begun.items() if any(s == start and e > end for s, e in slices)}


class BranchVector:
    """What a branch behind a pooling gives with slices of the pooled channels ablated.

    Its 1x1 convolution is linear in the pooled channels, so one order costs one matrix product for all its slices.
    `block` has `conv`, `norm` and `activate`, as mmcv's ConvModule; `pooled` is of one image, (1, C, s, s).
    """

    def __init__(self, block: Any, pooled: Tensor) -> None:
        self.block, self.pooled = block, pooled
        self.total = block.conv(pooled)

    def vectors(self, order: Sequence[int], slices: Slices) -> Tensor:
        """(n, c) for s = 1, else (n, c, s, s)."""
        weight, channels = self.block.conv.weight, torch.tensor(list(order), device=self.pooled.device)

        def added(begin: int, end: int) -> Tensor:
            block = channels[begin:end]
            return nn.functional.conv2d(self.pooled[:, block], weight[:, block])

        sums = self.total.repeat(len(slices), 1, 1, 1)  # An empty slice keeps the total.
        for position, left in slices_of_sums(self.total, added, slices):
            sums[position] = left[0]
        maps = self.block.activate(self.block.norm(sums))
        return maps[:, :, 0, 0] if maps.shape[-2:] == (1, 1) else maps


class ConstantShares:
    """What maps that are constant over their pixels add to a zero-padded convolution of stride 1, behind its norm.

    A few pixels hold every different one: for a 3x3 kernel four corners, four edges and the inside. Each is the
    constant times a sum of the kernel's entries. `weight` is (K, c, k, k) with odd k, and `scale`, (K,), the factor of
    the norm; the padding is k // 2.
    """

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        self.weight = weight * scale[:, None, None, None]
        self._sums: dict[tuple[int, int], Tensor] = {}

    def __call__(self, vectors: Tensor, size: Sequence[int]) -> Tensor:
        """Shape: vectors (n, c), size of the maps (H, W); output (n, K, h, w) for `add_borders`, h and w at most k."""
        kernel = self.weight.shape[-1]
        height, width = (min(side, kernel) for side in size)
        if (height, width) not in self._sums:
            # A map of ones, convolved with each pair of input and output channel on its own.
            ones = self.weight.new_ones(1, 1, height, width)
            sums = nn.functional.conv2d(ones, self.weight.flatten(0, 1)[:, None], padding=kernel // 2)
            self._sums[height, width] = sums.view(*self.weight.shape[:2], height * width)
        sums = self._sums[height, width].to(vectors)
        return torch.einsum('nc,kcp->nkp', vectors, sums).unflatten(-1, (height, width))


def add_borders(maps: Tensor, small: Tensor) -> Tensor:
    """Add what `ConstantShares` gives, (n, K, h, w), to maps of full size (1 or n, K, H, W), in their type."""
    total = maps.new_empty((len(small), *maps.shape[1:]))
    small = small.to(maps.dtype)
    for rows, small_rows in _segments(maps.shape[-2], small.shape[-2]):
        for columns, small_columns in _segments(maps.shape[-1], small.shape[-1]):
            part = small[..., small_rows, small_columns]
            torch.add(maps[..., rows, columns], part, out=total[..., rows, columns])
    return total


def _segments(size: int, small: int) -> list[tuple[slice, slice]]:
    """Where the beginning, middle and end of an axis lie in the full map and in the small one."""
    if size == small:
        return [(slice(None), slice(None))]
    edge = small // 2
    full = slice(edge), slice(edge, size - edge), slice(size - edge, size)
    return list(zip(full, (slice(edge), slice(edge, edge + 1), slice(edge + 1, small)), strict=True))


def norm_scale(norm: Any) -> Tensor:
    """The factor by which batch norm in evaluation mode multiplies each channel."""
    scale = (norm.running_var + norm.eps).rsqrt()
    return scale if norm.weight is None else scale * norm.weight


def norm_shift(norm: Any) -> Tensor:
    """What batch norm in evaluation mode gives for zero."""
    shift = -norm.running_mean * norm_scale(norm)
    return shift if norm.bias is None else shift + norm.bias


@contextmanager
def recorded(outputs: Mapping[str, nn.Module], inputs: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Copies of what modules of a head give and get in one forward while the block runs, by the names given."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor) -> None:
        if name in seen:
            raise ValueError(f'{name} of the head must run once per forward')
        seen[name] = tensor.clone()

    with ExitStack() as hooks:
        for name, module in outputs.items():
            hooks.enter_context(module.register_forward_hook(lambda _, args, output, name=name: keep(name, output)))
        for name, module in inputs.items():
            hooks.enter_context(module.register_forward_hook(lambda _, args, output, name=name: keep(name, args[0])))
        yield seen
