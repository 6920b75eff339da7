"""Layers of a network: finding them, where their channels are, and their pooled features (Sec. 4.2.1)."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from textwrap import shorten
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, pooling

Forward = Callable[[Tensor], object]

_LAYER = re.compile(r'([^\[\]\s]+?)(?:\[(-?\d{1,9})\])?')
_WRAPPERS = {'DistributedDataParallel', 'DataParallel', 'FullyShardedDataParallel', 'BaseTTAModel'}


def split_layer(layer: str) -> tuple[str, int | None]:
    """Module path and output index of a layer name such as 'backbone[-1]'."""
    match = _LAYER.fullmatch(layer) if isinstance(layer, str) else None
    if match is None:
        form = 'a dotted module path such as "backbone.layer4", or "backbone[-1]" for one tensor of a tuple'
        raise ValueError(f'layer must be {form}, got {layer!r:.100}')
    path, index = match.groups()
    return path, None if index is None else int(index)


def unwrap_model(model: nn.Module) -> Any:
    """The network that layer paths start from: without DDP or its like, test-time augmentation and `torch.compile`."""
    inner: Any = model
    while True:
        if _WRAPPERS & {base.__name__ for base in type(inner).__mro__}:
            inner = inner.module
        elif hasattr(inner, '_orig_mod'):
            inner = inner._orig_mod
        else:
            return inner


def find_module(model: nn.Module, layer: str) -> nn.Module:
    """The module at a dotted path, with wrappers and an [i] behind it passed over; ValueError if there is none."""
    return _modules_on_path(model, layer)[-1]


def _modules_on_path(model: nn.Module, layer: str) -> list[nn.Module]:
    modules, found = [unwrap_model(model)], ''
    for name in split_layer(layer)[0].split('.'):
        # Not named_children(), which gives a module under the first of its names only.
        children = {key: child for key, child in modules[-1]._modules.items() if child is not None}
        if name not in children:
            raise ValueError(
                f'layer {layer!r} does not exist: the deepest part that does is '
                f'{repr(found) if found else "the model itself"} ({type(modules[-1]).__name__}), whose children are: '
                f'{shorten(", ".join(children), 300, placeholder=" ...") or "(none)"}'
            )
        modules.append(unwrap_model(children[name]))
        found = f'{found}.{name}'.lstrip('.')
    return modules


def select_output(output: object, layer: str) -> Tensor:
    """The one tensor that a layer name stands for in the module's output; one tensor counts as a tuple of one."""
    path, index = split_layer(layer)
    outputs = output if isinstance(output, (tuple, list)) else (output,)
    size = len(outputs)
    if size != 1 if index is None else not -size <= index < size:
        raise ValueError(
            f'layer {layer!r} gives a {type(output).__name__} of {size}, one tensor is needed: write {path + "[-1]"!r} '
            f'for the last or {path + "[i]"!r} with i from {-size} to {size - 1}; {path + ".i"!r} is a child module'
        )
    features = outputs[index or 0]
    if not isinstance(features, Tensor) or features.ndim not in (2, 3, 4):
        got = f'shape {tuple(features.shape)}' if isinstance(features, Tensor) else type(features).__name__
        forms = '(N, C), (N, C, H, W), (N, H, W, C), tokens (N, L, C), or a tuple of tensors'
        raise ValueError(f'layer {layer!r} must give a tensor {forms}, got {got}: name another layer, or a submodule')
    return features


def replace_output(output: object, layer: str, features: Tensor) -> object:
    """A copy of the module's output with another tensor in the place that `layer` names."""
    if not isinstance(output, (tuple, list)):
        return features
    items = list(output)
    items[split_layer(layer)[1] or 0] = features
    return type(output)(*items) if hasattr(output, '_fields') else type(output)(items)


@dataclass(frozen=True)
class Layout:
    """Where a layer's channels are: their dimension, and how many of the first tokens are no patches (class token)."""

    channel_dim: int = 1
    prefix_tokens: int = 0

    def pool(self, features: Tensor) -> Tensor:
        """Pooled features z (N, C), the mean over space or patches, in float32 or wider; always a new tensor."""
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        if features.ndim == 2:
            return features.clone()
        space = [dim for dim in range(1, features.ndim) if dim != self.channel_dim % features.ndim]
        if self.prefix_tokens:
            features = features.narrow(space[0], self.prefix_tokens, features.shape[space[0]] - self.prefix_tokens)
        return features.mean(space)


def global_average_pool(features: Tensor) -> Tensor:
    """Global average pooling of (N, C, H, W) to (N, C), z in the paper's formulas (Sec. 3.1)."""
    return Layout().pool(features)


class UnknownLayoutError(ValueError):
    """The modules that ran do not establish where a layer's channels are."""


_POOLS = pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._AdaptiveMaxPoolNd, pooling._AdaptiveAvgPoolNd
_CHANNELS_FIRST = (conv._ConvNd, batchnorm._NormBase, nn.GroupNorm, *_POOLS)
_ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Identity, nn.Dropout)
_TOKENS = re.compile(
    r'(^|\.)(cls_token|class_token|class_embedding|dist_token|distillation_token|reg_token|register_tokens)$'
)


def _is_layer_norm(module: nn.Module) -> bool:
    return len(getattr(module, 'normalized_shape', ())) == 1


def _only(dims: list[int]) -> int | None:
    return dims[0] if len(dims) == 1 else None


def dim_of_type(module: nn.Module, output: Tensor) -> int | None:
    """The channels' dimension that a module's type establishes; None if it does not."""
    if type(module).forward is nn.Sequential.forward:
        for child in reversed(list(module.children())):
            if not isinstance(child, _ELEMENTWISE):
                return dim_of_type(child, output)
    if isinstance(module, _CHANNELS_FIRST):
        return 1
    if not _is_layer_norm(module):
        return None
    if type(module).forward is nn.LayerNorm.forward:
        return output.ndim - 1
    width = module.normalized_shape[0]  # type: ignore[index]
    return _only([dim for dim in range(1, output.ndim) if output.shape[dim] == width])


def _split_shape(features: Tensor, channel_dim: int) -> tuple[tuple[int, ...], int]:
    """Spatial sizes and number of channels."""
    _, *shape = features.shape
    channels = shape.pop(channel_dim - 1)
    return tuple(shape), channels


Action = Callable[[Tensor, Layout], Tensor | None]
_LAYOUTS: WeakKeyDictionary[nn.Module, dict[tuple, dict[int, Layout]]] = WeakKeyDictionary()
"""Established layouts, by module; then by index of its output and what was given; then by number of dimensions."""


class _Layouts:
    """Establishes the layout of a layer's output, once per module."""

    def __init__(self, model: nn.Module, layer: str, channel_dim: int | None, prefix_tokens: int | None) -> None:
        if channel_dim == 0:
            raise ValueError('channel_dim must not be 0, the dimension of the images')
        self.layer, self.path, index = layer, _modules_on_path(model, layer), split_layer(layer)[1]
        self.channel_dim, self.prefix_tokens = channel_dim, prefix_tokens
        self._before: torch.Size | None = None  # of an output whose layout was not established
        of_module = _LAYOUTS.setdefault(self.path[-1], {})
        self._known = of_module.setdefault((index, channel_dim, prefix_tokens), {})
        self._known_alone = of_module.setdefault((index, None, None), {})
        # Maps that modules of known layout gave in this forward: spatial sizes, number of channels, their dimension.
        self._maps: set[tuple[tuple[int, ...], int, int]] = set()
        self.watching = ExitStack()
        for module in () if self._known else self.path[0].modules():
            if isinstance(module, _CHANNELS_FIRST) or _is_layer_norm(module):
                self.watching.enter_context(module.register_forward_hook(self._note))

    def _note(self, module: nn.Module, args: tuple, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim >= 3 and (dim := dim_of_type(module, output)):
            self._maps.add((*_split_shape(output, dim), dim))

    def of(self, features: Tensor) -> Layout:
        """The layout of an output."""
        if features.ndim not in self._known:
            self._known[features.ndim] = self._established(features)
            self.watching.close()
        return self._known[features.ndim]

    def _established(self, features: Tensor) -> Layout:
        ndim, shape = features.ndim, tuple(features.shape)
        if ndim == 2:
            return Layout()
        dim = (
            self.channel_dim
            or (ndim in self._known_alone and self._known_alone[ndim].channel_dim)
            or dim_of_type(self.path[-1], features)
            or self._dim_of_maps(features)
            or self._dim_that_stays(features)
        )
        if dim and not -ndim < dim < ndim:
            raise ValueError(f'layer {self.layer!r} gives {shape}, which has no dimension {dim} (channel_dim)')
        if not dim:
            what = f'layer {self.layer!r} gives {shape}, and the dimension of its channels is not established'
            example = 'e.g. 1 for (N, C, H, W), -1 for (N, H, W, C) and for tokens (N, L, C)'
            raise UnknownLayoutError(f'{what}: pass channel_dim=, {example}')
        dim %= ndim
        if ndim == 4 and not self.prefix_tokens:
            return Layout(dim)
        length = shape[3 - dim] if ndim == 3 else 1
        prefix = self._prefix(length) if self.prefix_tokens is None else self.prefix_tokens
        if not 0 <= prefix < length:
            raise ValueError(f'prefix_tokens of {shape} must be from 0 to {length - 1}, got {prefix}')
        return Layout(dim, prefix)

    def _dim_of_maps(self, features: Tensor) -> int | None:
        """The dimension that the other maps leave for the channels, None if they leave none or two."""
        # Tokens (N, L, C) behind a layer that mixes tokens are (N, C, L): L must not be a number of channels too.
        if features.ndim == 3 and features.shape[1] in {channels for _, channels, _ in self._maps}:
            return None
        dims = (1, 3) if features.ndim == 4 else (2,)
        return _only([dim for dim in dims if self._has_map_like(*_split_shape(features, dim))])

    def _dim_that_stays(self, features: Tensor) -> int | None:
        """The one dimension that another size of the images has left as it was; None if there are several, or none."""
        before, self._before = self._before, features.shape
        if before is None or len(before) != features.ndim:
            return None
        return _only([dim for dim in range(1, features.ndim) if features.shape[dim] == before[dim]])

    def _has_map_like(self, space: tuple[int, ...], channels: int) -> bool:
        return any(
            seen == space or (len(seen) != len(space) and (math.prod(seen), width) == (math.prod(space), channels))
            for seen, width, _ in self._maps
        )

    def _prefix(self, length: int) -> int:
        """How many of the tokens are no patches: as the model says, confirmed by the grid of its patches."""
        names = 'num_prefix_tokens', 'num_extra_tokens'
        said = (getattr(module, name, None) for module in reversed(self.path) for name in names)
        most = next((number for number in said if isinstance(number, int)), None)
        if most is None:
            named = self.path[0].named_parameters()
            most = sum(token.shape[-2] if token.ndim > 1 else 1 for name, token in named if _TOKENS.search(name))
        grids = {math.prod(space) for space, _, dim in self._maps if len(space) == 2 and dim == 1}
        if most == 0 and (length in grids or length - 1 not in grids):  # One more than the patches may be of any name.
            return 0
        prefix = _only([prefix for prefix in (0, most) if length - prefix in grids])
        if prefix is None:
            what = 'how many of them are no patches (class token, registers) is not established'
            advice = f'pass prefix_tokens=, e.g. prefix_tokens={most or 1}'
            raise UnknownLayoutError(f'layer {self.layer!r} gives {length} tokens, and {what}: {advice}')
        return prefix


@contextmanager
def layer_hook(
    model: nn.Module, layer: str, action: Action, channel_dim: int | None = None, prefix_tokens: int | None = None
) -> Iterator[None]:
    """Call `action` with every output of a layer and its layout; a tensor that it returns takes the output's place.

    Compiled modules run eagerly in the block. A layout that is not established is an `UnknownLayoutError` in the
    forward, never a guess.

    Args:
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        channel_dim: Dimension of the channels; None to establish it. In this order: a vector is (N, C); the type of the
            module that gave the output; the sizes of the maps that other modules gave in the same forward; in
            `pooled_features`, one more forward at another image size.
        prefix_tokens: Tokens at the beginning that are no patches; None to establish it from the model's
            `num_prefix_tokens` or its class, distillation and register tokens, and from the grid of its patches.
    """
    layouts = _Layouts(model, layer, channel_dim, prefix_tokens)

    def hook(module: nn.Module, args: tuple, output: object) -> object:
        features = select_output(output, layer)
        replaced = action(features, layouts.of(features))
        return output if replaced is None else replace_output(output, layer, replaced)

    with layouts.watching, layouts.path[-1].register_forward_hook(hook), eager_forwards():
        yield


class PooledRecord:
    """The pooled features that a layer gave since they were last taken (Sec. 4.2.1)."""

    def __init__(self, layer: str) -> None:
        self.layer = layer
        self.calls: list[Tensor] = []

    def add(self, features: Tensor, layout: Layout) -> None:
        """Pool the output of one call of the layer."""
        self.calls.append(layout.pool(features))

    def take(self) -> Tensor:
        """Return z (N, C) of the one call since the last `take`, and forget it; ValueError if there was not one."""
        calls, self.calls = self.calls, []
        if len(calls) != 1:
            advice = 'name a layer that the forward passes through once, without sliding windows'
            raise ValueError(f'layer {self.layer!r} must run once per forward, but ran {len(calls)} times: {advice}')
        return calls[0]


@contextmanager
def record_pooled(
    model: nn.Module, layer: str, channel_dim: int | None = None, prefix_tokens: int | None = None
) -> Iterator[PooledRecord]:
    """Record the pooled features at a layer, named as in `layer_hook`, while the block runs (Sec. 4.2.1)."""
    record = PooledRecord(layer)
    with layer_hook(model, layer, record.add, channel_dim, prefix_tokens):
        yield record


def pooled_features(
    model: nn.Module,
    layer: str,
    images: Tensor,
    forward: Forward | None = None,
    channel_dim: int | None = None,
    prefix_tokens: int | None = None,
) -> Tensor:
    """Pooled features z(I), (N, C), of images (N, 3, H, W), without gradient (Sec. 4.2.1).

    The network runs no further than the layer. `forward` is how the network takes images, default `model` itself; for
    mmpretrain's and mmseg's models a function that calls `model(images, mode='tensor')`. For `layer`, `channel_dim` and
    `prefix_tokens` see `layer_hook`.
    """
    call = forward or _single_copy(model)
    record = PooledRecord(layer)

    def reached(features: Tensor, layout: Layout) -> None:
        record.add(features, layout)
        raise _LayerReachedError

    def run(images: Tensor) -> None:
        with suppress(_LayerReachedError):
            call(images)

    with torch.no_grad(), layer_hook(model, layer, reached, channel_dim, prefix_tokens):
        try:
            run(images)
        except UnknownLayoutError:
            with suppress(Exception):  # Networks of a fixed image size say so in many ways.
                run(images[:1].repeat(1, 1, 2, 2))
            record.calls.clear()
            run(images)
    features = record.take()
    if len(features) != len(images):
        rows = f'{len(features)} rows for {len(images)} images, as inside windows'
        raise ValueError(f'layer {layer!r} gives {rows}: name a layer whose output has one row per image')
    return features


class _LayerReachedError(Exception):
    """Ends a forward at a layer; never leaves this module."""


def _single_copy(model: nn.Module) -> nn.Module:
    """The network without `DataParallel`, in whose forward a layer runs once on every device."""
    return model.module if isinstance(model, nn.DataParallel) else model


def check_layer(
    model: nn.Module, layer: str, image: Tensor, forward: Forward | None = None, **layout: int | None
) -> None:
    """Refuse a layer that does not run once per forward, or gives other features in a second one of the same image."""
    # First, since it may have to establish the layout.
    again = pooled_features(model, layer, image, forward, **layout)
    with torch.no_grad(), record_pooled(model, layer, **layout) as record:
        try:
            (forward or _single_copy(model))(image)
        except Exception:  # Only what comes before the layer has to accept these images.
            if not record.calls:
                raise
    tolerance = 1e-4 if again.device.type == 'cpu' else 1e-2  # A GPU may take another algorithm each time.
    if (record.take() - again).abs().max() > tolerance * again.abs().max():
        advice = 'name a layer that comes before the random part (dropout, a permutation of channels)'
        raise ValueError(f'layer {layer!r} gives other features in a second forward of the same image: {advice}')


_eager = ExitStack()
_blocks = 0


@contextmanager
def eager_forwards() -> Iterator[None]:
    """Run compiled modules uncompiled while any such block runs: they do not see hooks that their children got later.

    Blocks may end in any order, as those of two hooks of one runner do; PyTorch's own switch must not.
    """
    global _blocks
    if _blocks == 0:
        _eager.enter_context(torch.compiler.set_stance('force_eager'))
    _blocks += 1
    try:
        yield
    finally:
        _blocks -= 1
        if _blocks == 0:
            _eager.close()
