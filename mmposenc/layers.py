"""Pooled features z of any module of a network (Sec. 4.2.1)."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

_LAYER = re.compile(r'(?P<path>[^\[\]\s]+?)(\[(?P<index>-?\d{1,9})\])?')


def split_layer(layer: str) -> tuple[str, int | None]:
    """Module path and output index of a layer name such as 'backbone[-1]' (ours)."""
    if not isinstance(layer, str):
        raise TypeError(f'layer must be a str such as "backbone.layer4", got {type(layer).__name__}')
    match = _LAYER.fullmatch(layer)
    if match is None:
        raise ValueError(
            f'layer must be a dotted module path, with [i] behind it to take one tensor of a tuple '
            f'(e.g. "backbone.layer4" or "backbone[-1]"), got {layer!r:.100}'
        )
    return match['path'], None if match['index'] is None else int(match['index'])


def find_module(model: nn.Module, layer: str) -> nn.Module:
    """The module at a dotted path; an [i] behind the path is passed over (ours).

    Raises:
        ValueError: If the path does not exist; the message names the deepest part that does and its children.
    """
    path, _ = split_layer(layer)
    module, found = model, ''
    for name in path.split('.'):
        children = dict(module.named_children())
        if name not in children:
            place = f'{found!r} ({type(module).__name__})' if found else f'the model itself ({type(module).__name__})'
            raise ValueError(
                f'layer {layer!r} does not exist: the deepest part that does is {place}, '
                f'whose children are: {_listed(children)}'
            )
        module, found = children[name], f'{found}.{name}'.lstrip('.')
    return module


def select_output(output: object, layer: str) -> Tensor:
    """The one (N, C, H, W) or (N, C) tensor a layer name stands for in the module's output (ours).

    A tuple or list of several tensors, as the hosts' backbones give, needs an index: 'backbone[3]' or 'backbone[-1]'.
    """
    path, index = split_layer(layer)
    features = output
    if isinstance(output, (tuple, list)):
        if index is None and len(output) != 1:
            raise ValueError(
                f'layer {layer!r} gives a {type(output).__name__} of {len(output)}, one tensor is needed: '
                f'write {path + "[-1]"!r} for the last or {path + "[i]"!r} with i from 0 to {len(output) - 1}'
            )
        if index is not None and not -len(output) <= index < len(output):
            raise ValueError(
                f'layer {layer!r} gives a {type(output).__name__} of {len(output)}: '
                f'the index must be from {-len(output)} to {len(output) - 1}, got {index}'
            )
        features = output[index or 0]
    elif index is not None:
        raise ValueError(
            f'layer {layer!r} gives one {type(output).__name__}, not a tuple: write {path!r} for all of it, '
            f'or {f"{path}.{index}"!r} for its child module'
        )
    if not isinstance(features, Tensor):
        raise ValueError(
            f'layer {layer!r} must give a tensor or a tuple of tensors, got {type(features).__name__}: '
            f'name one of its submodules'
        )
    if features.ndim not in (2, 4):
        raise ValueError(
            f'layer {layer!r} must give (N, C, H, W) or (N, C), got shape {tuple(features.shape)}: name another layer'
        )
    return features


def replace_output(output: object, layer: str, features: Tensor) -> object:
    """The module's output with the tensor `layer` stands for replaced; the given one is left alone (ours)."""
    if not isinstance(output, (tuple, list)):
        return features
    items = list(output)
    items[split_layer(layer)[1] or 0] = features
    if hasattr(output, '_fields'):
        return type(output)(*items)
    return type(output)(items)


def global_average_pool(features: Tensor) -> Tensor:
    """Global average pooling, z in the paper's formulas (Sec. 3.1), in float32 or wider.

    Shape:
        Input (N, C, H, W) or (N, C); output (N, C).
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return features.mean((2, 3)) if features.ndim == 4 else features


class PooledRecord:
    """The pooled features that a layer gave since they were last taken (Sec. 4.2.1)."""

    def __init__(self, layer: str) -> None:
        self.layer = layer
        self._calls: list[Tensor] = []

    def add(self, output: object) -> None:
        """Pool the output of one call of the layer."""
        self._calls.append(global_average_pool(select_output(output, self.layer)))

    def take(self) -> Tensor:
        """Return z (N, C) of the one call since the last `take`, and forget it.

        Raises:
            ValueError: If the layer ran no times, or several times as under sliding windows: z would be ambiguous.
        """
        calls, self._calls = self._calls, []
        if len(calls) != 1:
            raise ValueError(
                f'layer {self.layer!r} must run once per forward, but ran {len(calls)} times: '
                + ('use whole-image inference' if calls else 'name a layer that the forward passes through')
            )
        return calls[0]


class _LayerReachedError(Exception):
    """Ends a forward once the layer has been recorded; never leaves `pooled_forward`."""


@contextmanager
def record_pooled(model: nn.Module, layer: str, stop: bool = False) -> Iterator[PooledRecord]:
    """Record the pooled features at a layer while the block runs (Sec. 4.2.1).

    Args:
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        stop: End each forward at the layer by an exception; only `pooled_forward` wants this.

    Example:
        >>> with record_pooled(model, 'layer4') as record:
        ...     model(images)
        ...     pooled = record.take()
    """
    record = PooledRecord(layer)

    def hook(module: nn.Module, args: tuple, output: object) -> None:
        record.add(output)
        if stop:
            raise _LayerReachedError

    handle = find_module(model, layer).register_forward_hook(hook)
    try:
        yield record
    finally:
        handle.remove()


def pooled_features(
    model: nn.Module, layer: str, images: Tensor, forward: Callable[[Tensor], object] | None = None
) -> Tensor:
    """Pooled features z(I) of a batch, without gradient; the network runs no further than the layer (Sec. 4.2.1).

    Args:
        forward: How the network takes images, default `model` itself; for the hosts' models a function that
            calls `model(images, mode='tensor')`.

    Shape:
        Images (N, 3, H, W); output (N, C).
    """
    with pooled_forward(model, layer, forward) as pooled:
        return pooled(images)


@contextmanager
def pooled_forward(
    model: nn.Module, layer: str, forward: Callable[[Tensor], object] | None = None
) -> Iterator[Callable[[Tensor], Tensor]]:
    """A function from images to pooled features, for as many batches as the block holds (Sec. 4.2.1).

    One hook serves them all; otherwise as `pooled_features`.
    """
    with torch.no_grad(), record_pooled(model, layer, stop=True) as record:

        def pooled(images: Tensor) -> Tensor:
            with suppress(_LayerReachedError):
                (forward or model)(images)
            return record.take()

        yield pooled


def _listed(names: dict[str, nn.Module], limit: int = 20) -> str:
    shown = ', '.join(list(names)[:limit]) or '(none)'
    return f'{shown}, and {len(names) - limit} more' if len(names) > limit else shown


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode while the block runs; each module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


WRAPPERS = frozenset({'DistributedDataParallel', 'DataParallel', 'FullyShardedDataParallel', 'BaseTTAModel'})


def unwrap_model(model: nn.Module) -> Any:
    """The network that dotted layer paths start from, without the wrappers around it.

    Args:
        model: Maybe inside `DistributedDataParallel` or its like, mmengine's test-time augmentation, or
            `torch.compile`.
    """
    inner: Any = model
    while True:
        if WRAPPERS & {base.__name__ for base in type(inner).__mro__}:
            inner = inner.module
        elif hasattr(inner, '_orig_mod'):
            inner = inner._orig_mod
        else:
            return inner


_eager = ExitStack()
_blocks = 0


@contextmanager
def eager_forwards() -> Iterator[None]:
    """Run compiled modules uncompiled while any such block runs (ours).

    A module that was compiled and has run knows nothing of hooks that its children get later. Blocks may overlap and
    end in any order, as those of two hooks of one runner do; PyTorch's own switch must be undone last in, first out.
    """
    global _blocks
    if _blocks == 0:
        _eager.enter_context(_uncompiled())
    _blocks += 1
    try:
        yield
    finally:
        _blocks -= 1
        if _blocks == 0:
            _eager.close()


@contextmanager
def _uncompiled() -> Iterator[None]:
    if hasattr(torch.compiler, 'set_stance'):
        with torch.compiler.set_stance('force_eager'):
            yield
        return
    # PyTorch before 2.6: forget what was compiled, so that the hooks are compiled in; and again without them.
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()
