"""Checkpoint files: read without running what is inside them, the last whole one found, loaded only where they fit."""

import os
import re
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO, NoReturn

import numpy as np
import torch
from torch import nn


def read_checkpoint(file: str | Path | BinaryIO, map_location: Any = None, trust: bool = False) -> dict:
    """Read a checkpoint, refusing everything that could run code.

    Tensors, plain containers, numbers, numpy arrays and mmengine's log history are admitted, which is all that a
    training run of mmpretrain or mmseg writes; ValueError if the file asks for anything else, holds no weights by name,
    or is damaged. With `trust` any pickle is read: only for files whose author you trust.
    """
    if isinstance(file, str | Path):
        file = Path(file).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f'checkpoint {file} does not exist; check the path')
    torch.serialization.add_safe_globals(_admitted())
    try:
        if isinstance(file, Path):
            _check_archive(file, trust)
        checkpoint = torch.load(file, map_location=map_location, weights_only=not trust)
    except (PermissionError, torch.cuda.OutOfMemoryError):
        raise
    # What a damaged file makes the reader stumble over cannot be foreseen: half a file alone gives three exceptions.
    except Exception as error:
        raise ValueError(f'checkpoint {file} {_refusal(error)}') from error
    weights = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(key, str) for key in weights):
        raise ValueError(f'checkpoint {file} holds no dict of weights by their names; use another one')
    if not trust and isinstance(checkpoint.get('meta'), dict):
        # A leftover of mmcv 1: the text of a config, which mmengine runs to learn the number of GPUs.
        checkpoint['meta'].pop('config', None)
    return checkpoint


def _refusal(error: Exception) -> str:
    """Why a checkpoint was not read, and what to do."""
    text = str(error)
    if wanted := re.search(r'(?:GLOBAL|[Uu]nsupported global|[Uu]nsupported class|unrecognized function) (\S+)', text):
        asked = f'it asks for {wanted[1]:.100}, which weights do not need and which could run code'
        return f'was not loaded: {asked}; if you trust its author, pass --trust-checkpoint'
    reason = (text.strip() or type(error).__name__).splitlines()[0][:200]
    return f'is damaged or not a checkpoint ({reason}); was the run stopped, or the disk full? Use another one'


def read_resumable(path: str | Path, trust: bool = False) -> dict:
    """Read a checkpoint that training can resume from; ValueError if it holds weights alone."""
    checkpoint = read_checkpoint(path, 'cpu', trust)
    absent = [key for key in ('meta', 'state_dict', 'message_hub') if not isinstance(checkpoint.get(key), dict)]
    if absent:
        advice = f'training cannot resume from it; to start from its weights: --cfg-options load_from={path}'
        raise ValueError(f'checkpoint {path} holds no {", ".join(absent)}, so {advice}')
    return checkpoint


def last_whole_checkpoint(work_dir: str | Path, trust: bool = False) -> tuple[Path | None, list[str]]:
    """The checkpoint of a folder that training can resume from, and why newer ones were passed over.

    The one that `last_checkpoint` names comes first, then `epoch_*.pth`, `iter_*.pth` and `stopped.pth`, newest first.
    None if the folder holds no checkpoint; ValueError if none can be read.
    """
    folder = Path(work_dir)
    files = [path for name in ('epoch_*.pth', 'iter_*.pth', 'stopped.pth') for path in folder.glob(name)]
    files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    note = folder / 'last_checkpoint'
    named = Path(note.read_bytes().decode(errors='replace').strip()) if note.is_file() else folder
    if os.path.isfile(named):  # unlike Path.is_file, False for a name that no file can have
        files = [named, *(path for path in files if path.resolve() != named.resolve())]
    reasons: list[str] = []
    for path in files:
        try:
            read_resumable(path, trust)
            return path, reasons
        except ValueError as error:
            reasons.append(str(error))
    if reasons:
        raise ValueError(f'no checkpoint in {folder} can be resumed ({reasons[0]}); start again without --resume')
    return None, []


def load_exactly(model: nn.Module, weights: Mapping[str, Any], name: str) -> None:
    """Load weights into a model that they fit exactly; ValueError if a name or a shape differs.

    `name` is what the message calls the model. The prefix `module.` of a distributed training is taken off. Batch
    normalisation's counters may be missing.
    """
    weights = {key.removeprefix('module.'): value for key, value in weights.items()}
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
        missing = [key for key in missing if not key.endswith('num_batches_tracked')]
        misfits = {'missing': missing, 'unexpected': unexpected}
    except RuntimeError as error:
        misfits = {'of another shape': [line.strip().rstrip('.') for line in str(error).splitlines()[1:]]}
    found = [f'{len(some)} {kind}, first {"; ".join(some[:3])}' for kind, some in misfits.items() if some]
    if found:
        advice = 'Give the config that the checkpoint was trained with'
        raise ValueError(f'the checkpoint does not fit {name}: {" | ".join(found)}. {advice}')


def _check_archive(file: Path, trust: bool) -> None:
    """The file holds what was written, since the reader of PyTorch compares no checksums, and is not a program."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if not trust and any(name.endswith('/constants.pkl') for name in archive.namelist()):
                raise UnpicklingError('Unsupported global TorchScript')
            if entry := archive.testzip():
                raise ValueError(f'the checksum of {entry:.100} is not the one it was written with')


@cache
def _admitted() -> list[Callable | tuple[Callable, str]]:
    """What a checkpoint holds beside tensors: numpy arrays and scalars, and the history of mmengine's log."""
    scalar = np.float64(0).__reduce__()[0]

    def empty(*_: Any) -> np.ndarray:
        """Stands in for `_reconstruct`; the array's state follows, which numpy checks."""
        return np.empty(0, 'b')

    def array_class(*_: Any) -> NoReturn:
        """Stands in for `numpy.ndarray`, which a pickled array only names: called, it takes bytes for pointers."""
        raise UnpicklingError('Unsupported global numpy.ndarray, called')

    # The class itself must be admitted for the state to be set, under a name that no pickle can spell.
    admitted: list[Any] = [(np.ndarray, 'numpy\nndarray'), (array_class, 'numpy.ndarray'), np.dtype]
    admitted += [type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u4', 'u8', 'b1')]
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # numpy 2 renamed it
        admitted += [(empty, f'{module}._reconstruct'), (scalar, f'{module}.scalar')]
    try:
        from mmengine.logging import HistoryBuffer
    except ImportError:  # Weights of other projects are read without OpenMMLab.
        return admitted

    def statistic(owner: type, name: str) -> Callable:
        """Stands in for `getattr`: a log history refers to its own four statistics, and nothing else is looked up."""
        if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
            raise UnpicklingError(f'Unsupported global getattr({owner},{name})')
        return getattr(owner, name)

    # `__builtin__` is Python 2's name of builtins, which pickle protocol 2 writes.
    return [*admitted, HistoryBuffer, (statistic, 'builtins.getattr'), (statistic, '__builtin__.getattr')]
