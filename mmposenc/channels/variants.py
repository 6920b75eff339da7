"""Forwards of a network with one set of channels after another ablated, sharing what they can (Sec. 4.2.2)."""

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from mmposenc.channels.ablation import ablate_channels
from mmposenc.channels.sweep_plan import SweepOrder
from mmposenc.layers import Layout, find_module, layer_hook

Forward = Callable[[int], Any]
Say = Callable[[str], None]

CPU_BYTES = 32 * 2**20
"""On a CPU, more than its caches hold at once is slower."""


class VariantForwards:
    """The outputs of a network with slices of channel orders ablated at one layer, batch by batch (Sec. 4.2.2, Fig. 4).

    What is computed before the layer runs once per batch: the outputs of the modules that finished before the layer
    began, and the layer's own output before the ablation, are kept and replayed. Variants are stacked along the batch,
    as many as the memory holds. If the pooled output of the layer goes straight into the linear classifier that gives
    the scores, every variant is a matrix product of features that are computed once. All of this is compared with
    plain forwards on the first batch, and given up where it differs. Behind a nonlinearity there is no closed form:
    there every variant needs its own forward from the layer on.

    Args:
        model: Any network, in evaluation mode.
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        num_channels: C of the orders.
        memory: MiB for the variants that are held at once; one is held in any case.
        reuse: Share what comes before the layer.
        stack: Stack variants along the batch; only for forwards that can take copies.
        channel_dim: Dimension of the channels; None to establish it.
        prefix_tokens: Tokens that are not patches; None to establish it.
        allow_repeats: Accept a layer that runs several times per forward, as under sliding windows.
        say: Gets a line on what is shared, or why it is not. Default: the log.
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
        say: Say | None = None,
    ) -> None:
        self.model, self.layer, self.num_channels = model, layer, num_channels
        self._memory, self._stack = memory * 2**20, stack
        self._channel_dim, self._prefix_tokens, self._allow_repeats = channel_dim, prefix_tokens, allow_repeats
        self._say = say or logging.getLogger('mmposenc').info
        self.reuse, self._prepared = reuse, not reuse
        self._prefix: _Prefix | None = None
        self._readout: _Readout | None = None
        self._copies = 1

    @property
    def shares(self) -> bool:
        """Whether anything is shared; known after the first batch."""
        return self._prefix is not None or self._readout is not None

    def run(
        self, orders: Sequence[SweepOrder], forward: Forward, check: Forward | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Give the number and the output of every run of the orders, for one batch.

        Args:
            orders: Those of this layer.
            forward: Runs the network on the batch, or on as many copies of it as it is told, one after the other
                along the batch.
            check: The same, but gives the scores (N, ...), where `forward` does not.

        Raises:
            ValueError: If the layer has another number of channels, or the forward does not pass through it.
        """
        check = check or forward
        if not self._prepared and orders:
            self._prepare(orders, check)
            self._prepared = True
        if self._readout is not None:
            yield from self._readout.run(orders, lambda: check(1))
            return
        sets = [
            (run, order.order[a:b]) for order in orders for run, (a, b) in zip(order.runs, order.slices, strict=True)
        ]
        if self._prefix is None:
            for run, channels in sets:
                yield run, self._plain(channels, forward)
            return
        with self._prefix.recorded(lambda: check(1)):
            for first in range(0, len(sets), self._copies):
                chunk = sets[first : first + self._copies]
                outputs = self._replayed(self._prefix, [channels for _, channels in chunk], forward)
                yield from zip((run for run, _ in chunk), outputs, strict=True)

    def _plain(self, channels: Sequence[int], forward: Forward) -> Any:
        with ablate_channels(
            self.model,
            self.layer,
            channels,
            num_channels=self.num_channels,
            channel_dim=self._channel_dim,
            allow_repeats=self._allow_repeats,
        ):
            return forward(1)

    def _replayed(self, prefix: '_Prefix', sets: Sequence[Sequence[int]], forward: Forward) -> list[Any]:
        with prefix.replaying(len(sets)):
            if len(sets) == 1:
                return [self._plain(sets[0], forward)]
            with self._ablated_copies(sets):
                return list(forward(len(sets)).unflatten(0, (len(sets), -1)))

    @contextmanager
    def _ablated_copies(self, sets: Sequence[Sequence[int]]) -> Iterator[None]:
        """Ablate another set of channels in each copy of the batch."""
        mask = torch.zeros(len(sets), self.num_channels, dtype=torch.bool)
        for row, channels in zip(mask, sets, strict=True):
            row[list(channels)] = True

        def ablate(features: Tensor, layout: Layout) -> Tensor:
            copies = features.movedim(layout.channel_dim, 1).unflatten(0, (len(sets), -1))
            off = mask.to(features.device).view(len(sets), 1, -1, *[1] * (features.ndim - 2))
            return copies.masked_fill(off, 0).flatten(0, 1).movedim(1, layout.channel_dim)

        with layer_hook(self.model, self.layer, ablate, self._channel_dim, prefix_tokens=0):
            yield

    def _prepare(self, orders: Sequence[SweepOrder], check: Forward) -> None:
        """Find out on the first batch what can be shared."""
        sets = [order.order[a:b] for order in orders for a, b in order.slices]
        some = max((s for s in sets if len(s) < self.num_channels), key=len, default=sets[0])
        fewer = some[: len(some) // 2]
        plain, other = self._plain(some, check), self._plain(fewer, check)
        trace = _Trace(self.model, self.layer, lambda: check(1), self._channel_dim, self._prefix_tokens)
        if trace.calls != 1:
            self._say(f'sweep at {self.layer}: nothing is shared, as the layer runs {trace.calls} times per forward')
            return
        self._channel_dim = trace.layout.channel_dim
        readout = _Readout.find(trace)
        if readout is not None:
            slices = SweepOrder(self.layer, tuple(some), ((0, len(some)), (0, len(fewer))), (0, 1))
            found = dict(readout.run([slices], lambda: check(1)))
            if _close(plain, found[0]) and _close(other, found[1]):
                self._readout = readout
                self._say(f'sweep at {self.layer}: variants are matrix products of the features before the classifier')
                return
        for stand_ins in (True, False):
            prefix = _Prefix(trace, stand_ins)
            if self._agrees(prefix, [some], [plain], check):
                break
        else:
            self._say(
                f'sweep at {self.layer}: nothing is shared, as replaying what comes before the layer changes the scores'
            )
            return
        prefix.settle()
        copies = int(self._limit(plain) // max(trace.suffix_bytes, 1)) if self._stack else 1
        if copies > 1 and self._agrees(prefix, [some, fewer], [plain, other], check):
            self._copies = copies
        self._prefix = prefix
        self._say(
            f'sweep at {self.layer}: what comes before the layer is computed once per batch'
            + (f', {self._copies} variants at once' if self._copies > 1 else '')
        )

    def _agrees(self, prefix: '_Prefix', sets: list, expected: list[Tensor], check: Forward) -> bool:
        try:
            with prefix.recorded(lambda: check(1)):
                found = self._replayed(prefix, sets, check)
        except (RuntimeError, ValueError, IndexError, TypeError):  # Shapes that cannot be stacked or stood in for.
            return False
        return all(_close(a, b) for a, b in zip(expected, found, strict=True))

    def _limit(self, like: Tensor) -> float:
        return min(self._memory, CPU_BYTES) if like.device.type == 'cpu' else self._memory


class _Trace:
    """Which modules ran before a layer in one forward, and what came after it.

    Attributes:
        kept: For each module, whether each of its calls is replayed; calls within a replayed call do not count.
        dead: Calls (module, number) whose output was only given to other replayed modules, as far as can be seen.
        calls: Calls of the layer.
        suffix_bytes: What the modules behind the layer gave, and the layer itself.
        layout: Of the layer's output.
        pooled: The layer's pooled output.
        linears: Each linear module that ran behind the layer, with its input and output.
        output: Of the forward.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        forward: Callable[[], Tensor],
        channel_dim: int | None,
        prefix_tokens: int | None,
    ) -> None:
        self.module = find_module(model, layer)
        self.calls, self.suffix_bytes = 0, 0
        self.layout, self.pooled = Layout(), torch.empty(0)
        self.linears: list[tuple[nn.Linear, Tensor, Tensor]] = []
        records: list[_Call] = []
        running: list[_Call] = []
        given: dict[int, tuple[ref[Tensor], _Call]] = {}

        def traced(module: nn.Module, run: Callable) -> Callable:
            def call(*args: Any, **kwargs: Any) -> Any:
                record = _Call(module, running[-1] if running else None)
                for value in (*args, *kwargs.values()):
                    made, maker = given.get(id(value), (None, None))
                    if maker is not None and made is not None and made() is value:
                        record.takes.append(maker)
                record.is_layer = module is self.module and not self.calls
                self.calls += module is self.module
                records.append(record)
                running.append(record)
                try:
                    output = run(*args, **kwargs)
                finally:
                    running.pop()
                record.before = not self.calls
                if isinstance(output, Tensor):
                    given[id(output)] = ref(output), record
                behind = record.is_layer or (self.calls and not any(other.is_layer for other in running))
                if behind and (record.is_layer or not any(True for _ in module.children())):
                    self.suffix_bytes += sum(tensor.nbytes for tensor in _tensors(output))
                if behind and type(module) is nn.Linear and len(args) == 1 and args[0].ndim == 2:
                    self.linears.append((module, args[0], output))
                return output

            return call

        def note(features: Tensor, layout: Layout) -> None:
            self.layout, self.pooled = layout, layout.pool(features)

        changed = {module: traced(module, module.forward) for module in model.modules() if _can_patch(module)}
        with layer_hook(model, layer, note, channel_dim, prefix_tokens), patched(changed):
            self.output = forward()
        self._keep(records)

    def _keep(self, records: list['_Call']) -> None:
        """Keep the outermost calls that ended before the layer began, and the layer's own."""
        self.kept: dict[nn.Module, list[bool]] = {}
        self.dead: set[tuple[nn.Module, int]] = set()
        for record in records:
            inside = record.parent is not None and record.parent.replayed
            record.replayed = inside or record.before or record.is_layer
            if inside:
                continue
            calls = self.kept.setdefault(record.module, [])
            record.number = len(calls)
            calls.append(record.replayed)
            if record.replayed:
                self.dead |= {(maker.module, maker.number) for maker in record.takes if maker.number is not None}
        self.kept = {module: calls for module, calls in self.kept.items() if any(calls)}


@dataclass(eq=False)
class _Call:
    """One call of a module in a trace.

    Args:
        module: Which one.
        parent: The call it happened in.
        takes: The calls whose outputs it got.
        is_layer: It is the first call of the layer.
        before: It ended before the layer began.
        replayed: It is not run in a replay.
        number: Among the calls of the module that happen in a replay.
    """

    module: nn.Module
    parent: '_Call | None'
    takes: list['_Call'] = field(default_factory=list)
    is_layer: bool = False
    before: bool = False
    replayed: bool = False
    number: int | None = None


class _Prefix:
    """Keeps what modules gave in one forward and gives it again, also for several copies of the batch.

    Args:
        trace: Of a forward of the same network.
        stand_ins: Give tensors of NaN that take no memory where the trace says that only replayed modules use them.
    """

    def __init__(self, trace: _Trace, stand_ins: bool) -> None:
        self._kept = trace.kept
        self._dead = trace.dead if stand_ins else set()
        self._outputs: dict[tuple[nn.Module, int], Any] = {}
        self._copies = 0
        self._tiled: dict[tuple[nn.Module, int], Any] = {}
        self._written: set[tuple[nn.Module, int]] | None = None

    @contextmanager
    def recorded(self, forward: Callable[[], Tensor]) -> Iterator[None]:
        """Run the forward and keep what it needs while the block runs."""
        depth = 0
        numbers: Counter[nn.Module] = Counter()

        def recording(module: nn.Module, run: Callable) -> Callable:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal depth
                number = numbers[module]
                numbers[module] += not depth
                keep = not depth and number < len(self._kept[module]) and self._kept[module][number]
                depth += keep
                try:
                    output = run(*args, **kwargs)
                finally:
                    depth -= keep
                if keep:
                    stand_in = (module, number) in self._dead
                    self._outputs[module, number] = _mapped(output, _stand_in if stand_in else torch.clone)
                return output

            return call

        try:
            with patched({module: recording(module, module.forward) for module in self._kept}):
                self._batch = len(forward())
            if any(numbers[module] < len(calls) for module, calls in self._kept.items()):
                raise ValueError(
                    'the network takes another way through its modules on this batch: sweep with reuse=False'
                )
            yield
        finally:
            self._outputs, self._tiled, self._copies = {}, {}, 0

    @contextmanager
    def replaying(self, copies: int) -> Iterator[None]:
        """Give the kept outputs again while the block runs, for one forward of some copies of the batch."""
        if copies != self._copies:
            self._copies = copies
            self._tiled = {call: self._tile(call, output, copies) for call, output in self._outputs.items()}
        numbers: Counter[nn.Module] = Counter()
        given: dict[tuple[nn.Module, int], tuple[Any, list[int]]] = {}

        def replay(module: nn.Module, run: Callable) -> Callable:
            def call(*args: Any, **kwargs: Any) -> Any:
                number = numbers[module]
                numbers[module] += 1
                if number >= len(self._kept[module]) or not self._kept[module][number]:
                    return run(*args, **kwargs)
                output = self._tiled[module, number]
                if self._written is None or (module, number) in self._written:
                    output = _mapped(output, _copy)
                given[module, number] = output, [tensor._version for tensor in _tensors(output)]
                return output

            return call

        with patched({module: replay(module, module.forward) for module in self._kept}):
            yield
        changed = {
            call for call, (output, versions) in given.items() if [t._version for t in _tensors(output)] != versions
        }
        if self._written is None:
            self._seen_written = changed
        elif changed - self._written:
            raise ValueError('the network writes into outputs that it left alone before: sweep with reuse=False')

    def settle(self) -> None:
        """From now on copy only what the last replay wrote into."""
        self._written = self._seen_written

    def _tile(self, call: tuple[nn.Module, int], output: Any, copies: int) -> Any:
        if copies == 1:
            return output

        def tile(tensor: Tensor) -> Tensor:
            if not tensor.ndim or len(tensor) % self._batch:
                return tensor  # Not of images, such as an embedding of positions.
            if call in self._dead:
                return _stand_in(tensor[:1]).expand(copies * len(tensor), *tensor.shape[1:])
            return tensor.repeat(copies, *[1] * (tensor.ndim - 1))

        return _mapped(output, tile)


class _Readout:
    """A linear classifier of the pooled features of a layer.

    Args:
        linear: The classifier, whose output are the scores.
    """

    def __init__(self, linear: nn.Linear) -> None:
        self.linear = linear

    @classmethod
    def find(cls, trace: _Trace) -> '_Readout | None':
        for linear, given, output in trace.linears:
            direct = given.shape == trace.pooled.shape and output.shape == trace.output.shape
            if direct and _close(trace.pooled, given) and torch.equal(output, trace.output):
                return cls(linear)
        return None

    def run(self, orders: Sequence[SweepOrder], forward: Callable[[], Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Number and scores (N, K) of every run: the scores without ablation minus what the ablated channels add."""
        given: list[Tensor] = []
        handle = self.linear.register_forward_pre_hook(lambda module, args: given.append(args[0]))
        try:
            scores = forward()
        finally:
            handle.remove()
        features, weight = given[-1], self.linear.weight.to(given[-1])
        for order in orders:
            bounds = sorted({0, *(bound for bounds in order.slices for bound in bounds)})
            channels = torch.tensor(order.order, device=features.device)
            added = {0: torch.zeros_like(scores)}
            for start, stop in pairwise(bounds):
                block = channels[start:stop]
                added[stop] = added[start] + features[:, block] @ weight[:, block].T
            for run, (start, stop) in zip(order.runs, order.slices, strict=True):
                yield run, scores - (added[stop] - added[start])


@contextmanager
def patched(forwards: Mapping[nn.Module, Callable]) -> Iterator[None]:
    """Exchange the `forward` of modules while the block runs; their hooks stay as they are."""
    with ExitStack() as stack:
        for module, forward in forwards.items():
            stack.callback(_restore, module, module.__dict__.get('forward'))
            module.forward = forward
        yield


def _restore(module: nn.Module, forward: Callable | None) -> None:
    del module.forward
    if forward is not None:
        module.forward = forward


def _can_patch(module: nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule)


def _mapped(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The output with every tensor in it changed; tuples, lists and dicts are copied."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, (tuple, list)):
        items = [_mapped(item, change) for item in output]
        return type(output)(*items) if hasattr(output, '_fields') else type(output)(items)
    if isinstance(output, dict):
        copied = copy.copy(output)
        for key, value in output.items():
            copied[key] = _mapped(value, change)
        return copied
    return output


def _tensors(output: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _mapped(output, note)
    return found


def _copy(tensor: Tensor) -> Tensor:
    # A stand-in stays one.
    return tensor if tensor.numel() and not any(tensor.stride()) else tensor.clone()


def _stand_in(tensor: Tensor) -> Tensor:
    value = float('nan') if tensor.is_floating_point() else 0
    return tensor.new_full((), value).expand(tensor.shape)


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal up to the rounding of another order of summation; on a GPU up to that of TF32."""
    if one.shape != other.shape:
        return False
    coarse = one.is_cuda or one.dtype in (torch.float16, torch.bfloat16)
    one, other = one.double(), other.double()
    largest = float(one.nan_to_num(0, 0, 0).abs().max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=0, atol=(2e-2 if coarse else 1e-4) * largest, equal_nan=True)
