"""Forwards of a network with one set of channels after another ablated, sharing what they can (Sec. 4.2.2)."""

import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from mmposenc.channels.ablation import ablate_channels
from mmposenc.channels.sweep_plan import SweepOrder, SweepPlan
from mmposenc.layers import Layout, find_module, layer_hook

Forward = Callable[[int], Any]

CPU_BYTES = 32 * 2**20
"""On a CPU, more than its caches hold at once is slower."""


class VariantForwards:
    """The outputs of a network with slices of channel orders ablated at one layer, batch by batch (Sec. 4.2.2, Fig. 4).

    What is computed before the layer runs once per batch: the outputs of the modules that finish before the layer
    begins, and the layer's own output before the ablation, are kept and replayed. Variants are stacked along the batch,
    as many as the memory holds. If the pooled output of the layer goes straight into the linear classifier that gives
    the scores, every variant is a matrix product of features that are computed once. Behind a nonlinearity there is no
    closed form: there every variant needs its own forward from the layer on.

    What is shared is settled on the first batch by comparing variants with plain forwards, and given up where they
    differ. On every batch the network without ablation is replayed too; if it differs from its forward, the sweep ends.
    One case is not seen: a network that branches on a whole batch, such as by its mean; `memory=0` stacks nothing.

    Args:
        model, layer, channel_dim, prefix_tokens: See `mmposenc.layers.layer_hook`; the model in evaluation mode.
        memory: MiB for the variants that are held at once; one is held in any case.
        reuse: Share what comes before the layer.
        stack: Stack variants along the batch; only for forwards that can take copies.
        allow_repeats: Accept a layer that runs several times per forward, as under sliding windows.
        say: Gets a line on what is shared, or why it is not. Default: the log of 'mmposenc'.

    Attributes:
        shares: 'nothing', 'the prefix' or 'all but the classifier'; None before the first batch.
        copies: Variants that are stacked.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        num_channels: int,
        memory: float = 1024,
        reuse: bool = True,
        stack: bool = True,
        channel_dim: int | None = None,
        prefix_tokens: int | None = None,
        allow_repeats: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> None:
        find_module(model, layer)  # A layer that does not exist is refused before a pass over the data.
        self.model, self.layer, self.num_channels, self.reuse = model, layer, num_channels, reuse
        self._memory, self._stack, self._allow_repeats = memory * 2**20, stack, allow_repeats
        self.layout = dict(channel_dim=channel_dim, prefix_tokens=prefix_tokens)
        self._say = say or logging.getLogger('mmposenc').info
        self.shares: str | None = None if reuse else 'nothing'
        self.copies = 1
        self._needed: frozenset[int] = frozenset()

    def run(
        self, orders: Sequence[SweepOrder], forward: Forward, check: Forward | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Give the number and the output of every run of the orders, all of this layer, for one batch.

        `forward` runs the network on as many copies of the batch as it is told, one after the other along the batch.
        `check` is the same, but gives the scores (N, ...), where `forward` does not.
        """
        check = check or forward
        sets = [ablation for order in orders for ablation in order.ablations()]
        if self.shares is None and sets:
            self.shares, reason = self._settle([channels for _, channels in sets], check)
            self._say(f'sweep at {self.layer}: {reason}')
        if self.shares == 'nothing' or not sets:
            for run, channels in sets:
                yield run, self._plain(channels, forward)
            return
        tape = _Tape(self, check, self._needed)
        if self.shares == 'all but the classifier':
            if (found := tape.classifier()) is None:
                raise self._differs()
            for order in orders:
                yield from zip(order.runs, _scores_of_slices(*found, order), strict=True)
            return
        copies = self.copies
        # Two copies already tell whether this batch can be stacked: a tensor may only look as if it were of images.
        if copies > 1 and not self._agrees(tape, check, [()] * 2, [tape.output] * 2):
            copies = 1
        if copies == 1 and not self._agrees(tape, check, [()], [tape.output]):
            raise self._differs()
        for first in range(0, len(sets), copies):
            chunk = sets[first : first + copies]
            outputs = self._replayed(tape, [channels for _, channels in chunk], forward)
            yield from zip((run for run, _ in chunk), outputs, strict=True)

    def _settle(self, sets: list[Sequence[int]], check: Forward) -> tuple[str, str]:
        """What can be shared, and a line on it, from comparisons on the first batch."""
        some = max((s for s in sets if len(s) < self.num_channels), key=len, default=sets[0])
        fewer = some[: len(some) // 2]
        plain, other = self._plain(some, check), self._plain(fewer, check)
        tape = _Tape(self, check)
        if tape.calls != 1:
            return 'nothing', f'nothing is shared, as the layer runs {tape.calls} times per forward'
        self.layout['channel_dim'] = tape.layout.channel_dim
        if (found := tape.classifier()) is not None:
            order = (*some, *(set(range(self.num_channels)) - set(some)))
            slices = SweepOrder(self.layer, order, ((0, len(some)), (0, len(fewer))), (0, 1))
            if all(map(_close, (plain, other), _scores_of_slices(*found, slices))):
                return 'all but the classifier', 'variants are matrix products of the features before the classifier'
        agrees = partial(self._agrees, tape, check, [some], [plain])
        if not agrees():
            tape.needed = frozenset(range(len(tape.outputs)))
            if not agrees():
                return 'nothing', 'nothing is shared, as replaying what comes before the layer changes the scores'
            for number in reversed(range(len(tape.outputs))):
                tape.needed -= {number}
                if not agrees():
                    tape.needed |= {number}
        self._needed = tape.needed
        limit = min(self._memory, CPU_BYTES) if plain.device.type == 'cpu' else self._memory
        copies = int(limit // max(tape.suffix_bytes, 1)) if self._stack else 1
        # Two variants that differ as much as any, so that a network that mixes images shows.
        if copies > 1 and self._agrees(tape, check, [some, ()], [plain, tape.output]):
            self.copies = copies
        stacked = f', {self.copies} variants at once' if self.copies > 1 else ''
        return 'the prefix', f'what comes before the layer is computed once per batch{stacked}'

    def _plain(self, channels: Sequence[int], forward: Forward) -> Any:
        options = (0.0, self.num_channels, self.layout['channel_dim'], self._allow_repeats)
        with ablate_channels(self.model, self.layer, channels, *options):
            return forward(1)

    def _replayed(self, tape: '_Tape', sets: Sequence[Sequence[int]], forward: Forward) -> list[Any]:
        """The outputs with each set of channels ablated, from one forward of as many copies of the batch."""
        number = len(sets)
        if number == 1:
            with tape.replaying(1):
                return [self._plain(sets[0], forward)]
        mask = torch.zeros(number, self.num_channels, dtype=torch.bool)
        for row, channels in zip(mask, sets, strict=True):
            row[list(channels)] = True

        def ablate(features: Tensor, layout: Layout) -> Tensor:
            copies = features.movedim(layout.channel_dim, 1).unflatten(0, (number, -1))
            off = mask.to(features.device).view(number, 1, -1, *[1] * (features.ndim - 2))
            return copies.masked_fill(off, 0).flatten(0, 1).movedim(1, layout.channel_dim)

        hook = layer_hook(self.model, self.layer, ablate, self.layout['channel_dim'], prefix_tokens=0)
        with tape.replaying(number), hook:
            return list(forward(number).unflatten(0, (number, -1)))

    def _agrees(self, tape: '_Tape', check: Forward, sets: list, expected: Sequence[Tensor]) -> bool:
        """Whether replayed forwards give the expected scores."""
        try:
            found = self._replayed(tape, sets, check)
        except (RuntimeError, ValueError, IndexError, TypeError):  # Shapes that cannot be stacked or stood in for.
            return False
        return all(map(_close, expected, found))

    def _differs(self) -> ValueError:
        path = 'the network takes a different path through its modules on this batch than on the first'
        return ValueError(f'at layer {self.layer!r} {path}: sweep with reuse=False, or at level 1')


def _scores_of_slices(linear: nn.Linear, features: Tensor, order: SweepOrder) -> list[Tensor]:
    """The scores (N, K) of each slice of an order: the bias, and what the other channels add.

    What is left is added up, not subtracted from the whole: where all remaining features are zero, classes with equal
    biases tie, and the rounding of a difference would break the tie.
    """
    # Half precision would add up errors over the blocks.
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    weight, channels = linear.weight.to(features), torch.tensor(order.order, device=features.device)
    bounds = sorted({0, len(channels), *(bound for bounds in order.slices for bound in bounds)})
    before = [features.new_zeros(len(features), len(weight))]
    behind = [before[0] if linear.bias is None else linear.bias.to(features).expand_as(before[0])]
    with torch.autocast(features.device.type, enabled=False):
        blocks = [features[:, channels[a:b]] @ weight[:, channels[a:b]].T for a, b in pairwise(bounds)]
    for block, last in zip(blocks, reversed(blocks), strict=True):
        before.append(before[-1] + block)
        behind.append(behind[-1] + last)
    place = {bound: number for number, bound in enumerate(bounds)}
    return [before[place[start]] + behind[-1 - place[stop]] for start, stop in order.slices]


class PlanForwards(dict[str, VariantForwards]):
    """The forwards of a plan by layer; `options` are those of `VariantForwards`."""

    def __init__(self, model: nn.Module, plan: SweepPlan, **options: Any) -> None:
        super().__init__({layer: VariantForwards(model, layer, plan.total, **options) for layer in plan.layers})
        self.plan = plan

    def run(
        self, forward: Forward, check: Forward | None = None, leave_out: Container[str] = ()
    ) -> Iterator[tuple[int, Any]]:
        """The number and the output of every run for one batch: run 0, the whole network, and those of the layers."""
        yield 0, forward(1)
        for layer, variants in self.items():
            if layer not in leave_out:
                yield from variants.run(self.plan.orders_at(layer), forward, check)


class _Tape:
    """What the modules before a layer, and the layer itself, gave in one forward of a batch, whose result is `output`.

    `outputs` are the outermost modules that ended before the layer began, in the order of their calls, and the layer,
    with copies of what they gave. `needed` are the positions of those that a replay gives besides the layer's; given,
    no others are kept. The others are tensors of NaN that take no memory, so that a use of them shows. `suffix_bytes`
    is the size of what the layer and the modules behind it gave.
    """

    def __init__(self, variants: VariantForwards, forward: Forward, needed: frozenset[int] | None = None) -> None:
        self.module = find_module(variants.model, variants.layer)
        self.calls, self.suffix_bytes, self.layout = 0, 0, Layout()
        self.outputs: list[tuple[nn.Module, Any]] = []
        self.needed = frozenset() if needed is None else needed
        self._pooled = torch.empty(0)
        self._linears: list[tuple[nn.Linear, Tensor, Tensor]] = []
        self._depth = self._inside = 0
        # Not the modules that contain the layer: they run in a replay.
        self._modules = [
            module
            for module in variants.model.modules()
            if not isinstance(module, torch.jit.ScriptModule)
            and (module is self.module or all(part is not self.module for part in module.modules()))
        ]

        def note(features: Tensor, layout: Layout) -> None:
            self.layout, self._pooled = layout, layout.pool(features)

        recorded = {module: self._recorded(module, module.forward, needed) for module in self._modules}
        with layer_hook(variants.model, variants.layer, note, **variants.layout), patched(recorded):
            self.output = forward(1)

    def _recorded(self, module: nn.Module, run: Callable, needed: frozenset[int] | None) -> Callable:
        is_layer, is_leaf = module is self.module, not module._modules

        def call(*args: Any, **kwargs: Any) -> Any:
            outermost = not self._depth and not self.calls
            first = is_layer and not self.calls
            self.calls += is_layer
            self._depth += 1
            self._inside += is_layer
            try:
                output = run(*args, **kwargs)
            finally:
                self._depth -= 1
                self._inside -= is_layer
            leaves = tree_leaves(output)
            # Anything else may hold tensors that would not be copied; such a module runs in a replay.
            known = all(leaf is None or isinstance(leaf, (Tensor, str, int, float)) for leaf in leaves)
            if known and (first or (outermost and not self.calls)):
                keep = first or needed is None or len(self.outputs) in needed
                self.outputs.append((module, tree_map_only(Tensor, torch.clone if keep else _nothing, output)))
            if self.calls and not self._inside:
                if is_layer or is_leaf:
                    self.suffix_bytes += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
                if type(module) is nn.Linear and len(args) == 1 and args[0].ndim == 2:
                    self._linears.append((module, args[0], output))
            return output

        return call

    def classifier(self) -> tuple[nn.Linear, Tensor] | None:
        """The linear module that gives the scores from the layer's pooled output, and its input; None without one."""
        for linear, given, output in self._linears:
            direct = given.shape == self._pooled.shape and output.shape == self.output.shape
            if direct and _close(self._pooled, given) and torch.equal(output, self.output):
                return linear, given
        return None

    @contextmanager
    def replaying(self, copies: int) -> Iterator[None]:
        """Give the kept outputs again while the block runs, for one forward of some copies of the batch."""
        position = 0

        def replay(module: nn.Module, run: Callable) -> Callable:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal position
                if position == len(self.outputs) or self.outputs[position][0] is not module:
                    return run(*args, **kwargs)
                output, real = self.outputs[position][1], module is self.module or position in self.needed
                position += 1
                return tree_map_only(Tensor, lambda tensor: self._tiled(tensor, copies, real), output)

            return call

        with patched({module: replay(module, module.forward) for module in self._modules}):
            yield
        if position < len(self.outputs):
            raise ValueError('a replay takes a different path through the modules of the network')

    def _tiled(self, tensor: Tensor, copies: int, real: bool) -> Tensor:
        """A copy of the tensor that may be written into, once for each copy of the batch if it is of images."""
        times = copies if tensor.ndim and len(tensor) % len(self.output) == 0 else 1
        if real:
            return tensor.repeat(times, *[1] * (tensor.ndim - 1)) if times > 1 else tensor.clone()
        return _nothing(tensor[:1]).expand(times * len(tensor), *tensor.shape[1:]) if tensor.ndim else _nothing(tensor)


def _nothing(tensor: Tensor) -> Tensor:
    """NaN in the shape of a tensor, without memory."""
    return tensor.new_full((), float('nan') if tensor.is_floating_point() else 0).expand(tensor.shape)


@contextmanager
def patched(forwards: Mapping[nn.Module, Callable]) -> Iterator[None]:
    """Exchange the `forward` of modules while the block runs; their hooks stay as they are."""
    before = {module: vars(module)['forward'] for module in forwards if 'forward' in vars(module)}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module in forwards:
            vars(module).pop('forward', None)
        for module, own in before.items():
            module.forward = own


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal up to the rounding of another order of summation; on a GPU up to that of TF32."""
    if one.shape != other.shape:
        return False
    coarse = one.is_cuda or one.dtype in (torch.float16, torch.bfloat16)
    largest = float(one.nan_to_num(0, 0, 0).abs_().max()) if one.numel() else 0.0
    tolerance = (2e-2 if coarse else 1e-4) * largest
    difference = (one - other).abs_()
    if not difference.numel() or float(difference.max()) <= tolerance:
        return True
    return torch.allclose(one, other.to(one.dtype), rtol=0, atol=tolerance, equal_nan=True)  # NaN where both are
