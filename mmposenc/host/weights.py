"""Networks by name, and weights as people have them: files of torchvision, timm, mmpretrain, mmseg or Lightning."""

import re
import runpy
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmposenc.host.checkpoints import load_exactly, read_checkpoint
from mmposenc.layers import unwrap_model

# Not a model's: optimizers, and counters that averaging wrappers keep beside the weights.
OPTIMIZER = re.compile('optim|sched|scaler|loops|callback', re.IGNORECASE)
COUNTERS = ('steps', 'n_averaged')


def build_network(name: str, num_classes: int | None = None) -> nn.Module:
    """Build `timm:NAME`, `torchvision:NAME`, or `FILE.py:FUNCTION`, a function of your own, without weights.

    `num_classes` of None leaves the default, 1000 for timm and torchvision.
    """
    source, _, entry = name.rpartition(':')
    options = {} if num_classes is None else {'num_classes': num_classes}
    if source.endswith('.py'):
        builder = runpy.run_path(source).get(entry)
        if not callable(builder):
            raise ValueError(f'{source} defines no function {entry}')
        return builder(**options)
    if source not in ('timm', 'torchvision') or not entry:
        raise ValueError(f'a network is named timm:NAME, torchvision:NAME or FILE.py:FUNCTION, got {name}')
    library: Any = import_module('timm' if source == 'timm' else 'torchvision.models')
    if entry not in library.list_models():
        similar = get_close_matches(entry, library.list_models(), 5, 0.5)
        raise ValueError(f'{source} has no network {entry}; similar names: {", ".join(similar) or "none"}')
    return library.create_model(entry, **options) if source == 'timm' else library.get_model(entry, **options)


def load_weights(model: nn.Module, file: str | Path, trust: bool = False) -> str:
    """Load the weights of a file that fit a model exactly, under whatever prefix the file has them.

    A file may hold several sets of weights, such as a moving average (EMA), and one set the weights of several
    networks, such as `backbone.` and `head.`. Among those that fit, an average comes first, as in timm. What the model
    lacks, or the file has besides under the same prefix, is an error. The prefixes of wrappers (`module.`,
    `_orig_mod.`) are ignored on both sides.

    Returns a sentence that says what was taken, and what was left. For `trust` see `read_checkpoint`.
    """
    model, found = unwrap_model(model), read_weights(file, trust)
    kind, own = type(model).__name__, {_plain(key): key for key in model.state_dict()}
    names = _uncounted(own).keys()
    first = next(iter(names), '')
    candidates: list[tuple[int, str, str]] = []  # number of names that only one of the two has, place, prefix
    for key, each in found.items():
        for prefix in (name[: -len(first)] for name in each if name.endswith(first)):
            if not prefix or prefix.endswith('.'):
                theirs = {name.removeprefix(prefix) for name in _uncounted(each) if name.startswith(prefix)}
                candidates.append((len(theirs ^ names), key, prefix))
    if not candidates:
        reason = f'none of its names ends in {next(iter(own))}{_hint(model, found)}'
        raise ValueError(f'{file} holds no weights of {kind}: {reason}')
    # Fewest misfits, then an average, then the shortest prefix.
    _, key, prefix = min(candidates, key=lambda one: (one[0], not _is_average(f'{one[1]}.{one[2]}'), len(one[2])))
    chosen = {name.removeprefix(prefix): value for name, value in found[key].items() if name.startswith(prefix)}
    try:
        load_exactly(model, {own.get(name, name): value for name, value in chosen.items()}, kind)
    except ValueError as error:
        raise ValueError(f'{file}, {_place(key, prefix)}: {error}{_hint(model, found)}') from None
    said = f'{len(chosen)} tensors of {Path(file).name}, {_place(key, prefix)}'
    if left := [name for name in found[key] if not name.startswith(prefix)]:
        said += f'; left out {len(left)}, first {left[0]}'
    if others := [_place(*one[1:]) for one in candidates if one[0] == 0 and one[1:] != (key, prefix)]:
        said += f'; would fit too: {", ".join(others)}'
    return said


def weights_by_order(model: nn.Module, file: str | Path, trust: bool = False) -> str:
    """Load weights whose names differ from the model's but which stand in the same order (`--weights-by-order`).

    Every shape is compared, but two tensors of one shape in another order cannot be told apart, so measure the accuracy
    before you trust the result. Otherwise as `load_weights`.
    """
    model, found = unwrap_model(model), read_weights(file, trust)
    key = max(found, key=lambda name: (_is_average(name), len(found[name])))
    given, own, kind = _uncounted(found[key]), _uncounted(model.state_dict()), type(model).__name__
    if len(given) != len(own):
        raise ValueError(f'{file} holds {len(given)} tensors, {kind} has {len(own)}: not the same network')
    for mine, name in zip(own, given, strict=True):
        if given[name].shape != own[mine].shape:
            shapes = f'{name} is {tuple(given[name].shape)}, {mine} is {tuple(own[mine].shape)}'
            raise ValueError(f'{file} does not match {kind} in order: {shapes}')
    load_exactly(model, dict(zip(own, given.values(), strict=True)), kind)
    where = f'{len(own)} tensors of {Path(file).name} in their order, {_place(key, "")}'
    return f'{where}: every shape agrees, names were not compared'


def read_weights(file: str | Path, trust: bool = False) -> dict[str, dict[str, Tensor]]:
    """All sets of weights in a file, by where they are in it ('' for the file itself, 'state_dict', 'ema.model')."""
    if Path(file).suffix == '.safetensors':
        from safetensors.torch import load_file

        try:
            content: Any = load_file(file)
        except FileNotFoundError:
            raise FileNotFoundError(f'checkpoint {file} does not exist; check the path') from None
        except Exception as error:  # its own exception type, without a common base
            raise ValueError(f'{file} is damaged or not a safetensors file: {error}') from error
    else:
        content = read_checkpoint(file, 'cpu', trust)
    found = dict(_state_dicts(content))
    if not found:
        raise ValueError(f'{file} holds no tensors by name, but {", ".join(map(str, content))[:200]}')
    if 'state_dict' in found and 'mmengine_version' in (content.get('meta') or {}):
        found.pop('ema_state_dict', None)  # mmengine exchanges the two: 'state_dict' is the average
    return found


def _state_dicts(content: Any, place: str = '', depth: int = 3) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dict of tensors in a checkpoint, but an optimizer's."""
    if not isinstance(content, Mapping) or not depth or OPTIMIZER.search(place):
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    if tensors := {key: value for key, value in named.items() if isinstance(value, Tensor) and key not in COUNTERS}:
        plain = {_plain(key): value for key, value in tensors.items()}
        if len(plain) < len(tensors):
            raise ValueError('some weights are there twice, with and without the prefix of a wrapper (module.)')
        yield place, plain
    for key, value in named.items():
        yield from _state_dicts(value, f'{place}.{key}'.lstrip('.'), depth - 1)


def _uncounted(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """All but batch normalisation's counters, on which no result depends."""
    return {name: value for name, value in tensors.items() if not name.endswith('num_batches_tracked')}


def _plain(name: str) -> str:
    """A name without the wrappers of data-parallel and compiled models."""
    return re.sub(r'(^|\.)(?:module\.|_orig_mod\.)+', r'\1', name)


def _is_average(place: str) -> bool:
    return re.search(r'(^|[._])ema([._]|$)', place, re.IGNORECASE) is not None


def _place(key: str, prefix: str) -> str:
    where = f'its {key!r}' if key else 'its top level'
    average = ' (moving average)' if _is_average(f'{key}.{prefix}') else ''
    return where + (f', prefix {prefix!r}' if prefix else '') + average


def _hint(model: nn.Module, found: Mapping[str, Mapping[str, Tensor]]) -> str:
    """Whether the shapes would match in order."""
    sets = (model.state_dict(), *found.values())
    own, *shapes = ([value.shape for value in _uncounted(tensors).values()] for tensors in sets)
    return '. All shapes agree in order: --weights-by-order' if own in shapes else ''
