"""Reading checkpoint files without running what is inside them, and finding the last whole one (ours)."""

import os
import re
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmposenc.host.storage_claims import check_storage_claims

__all__ = ['last_whole_checkpoint', 'read_checkpoint', 'read_resumable', 'without_program']

TRUST_HINT = 'if you know and trust its author, pass --trust-checkpoint'


def read_checkpoint(file: str | Path | BinaryIO, map_location: Any = None, trust: bool = False) -> Any:
    """Read a checkpoint, refusing everything that could run code (ours).

    Tensors, plain containers, numbers, numpy arrays and mmengine's log history are admitted, which is all that a
    training run of the hosts writes. The hosts either cannot read their own files on PyTorch 2.6 and later, or fall
    back to an unrestricted pickle on any failure.

    Args:
        file: Path of the checkpoint, or an open binary file.
        map_location: As in `torch.load`.
        trust: Admit any pickle. Only for files whose author is trusted.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file asks for anything else, or is damaged.
    """
    if isinstance(file, str | Path):
        file = Path(file).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f'checkpoint {file} does not exist; check the path')
    torch.serialization.add_safe_globals(list(_admitted()))
    try:
        if isinstance(file, Path) and not trust:
            _check_zip(file)
        checkpoint = torch.load(file, map_location=map_location, weights_only=not trust)
    except (PermissionError, torch.cuda.OutOfMemoryError):
        raise
    # What a damaged file makes the reader stumble over cannot be foreseen: half a file alone gives three exceptions.
    except Exception as error:
        raise ValueError(refusal(str(file), error)) from error
    return without_program(str(file), checkpoint, trust)


def without_program(name: str, checkpoint: Any, trust: bool = False) -> dict:
    """A checkpoint that holds weights by name, and no text that mmengine runs as a program when it resumes (ours).

    Raises:
        ValueError: If it is no dict, or holds something else than names in place of names.
    """
    weights = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(key, str) for key in weights):
        raise ValueError(f'checkpoint {name} holds no dict of weights by their names; use another one')
    if not trust and isinstance(checkpoint.get('meta'), dict):
        # A leftover of mmcv 1: the text of a config, of which mmengine only wants the number of GPUs.
        checkpoint['meta'].pop('config', None)
    return checkpoint


def refusal(name: str, error: Exception) -> str:
    """One sentence that says why a checkpoint was not read, and what to do (ours)."""
    wanted = re.search(r'(?:GLOBAL|Unsupported global|Unsupported class|unrecognized function) (\S+)', str(error))
    if wanted:
        return (
            f'checkpoint {name} was not loaded: it asks for {wanted[1]:.100}, which weights do not need and which '
            f'could run code; {TRUST_HINT}'
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return (
        f'checkpoint {name} is damaged or no checkpoint ({reason}); was the run stopped, or the disk full, while it '
        'was written? Use another one'
    )


def read_resumable(path: str | Path, trust: bool = False) -> dict:
    """Read a checkpoint that training can go on from (ours).

    Raises:
        ValueError: If it cannot be read, or holds weights without the state of a training run.
    """
    checkpoint = read_checkpoint(path, 'cpu', trust)
    absent = [key for key in ('meta', 'state_dict', 'message_hub') if not isinstance(checkpoint.get(key), dict)]
    if absent:
        raise ValueError(
            f'checkpoint {path} holds no {", ".join(absent)}, so training cannot go on from it; '
            f'to start from its weights instead: --cfg-options load_from={path}'
        )
    return checkpoint


def last_whole_checkpoint(work_dir: str | Path, trust: bool = False) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint in a folder that training can go on from (ours).

    The one that `last_checkpoint` names comes first, then `epoch_*.pth`, `iter_*.pth` and the `stopped.pth` of a run
    that was told to end, newest first.

    Returns:
        The path, None if the folder holds no checkpoint at all; and why newer ones were passed over.

    Raises:
        ValueError: If the folder holds checkpoints, but none can be read.
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


def _check_zip(file: Path) -> None:
    """The file holds what it claims, and what was written: the reader of PyTorch compares no checksums."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(name.endswith('/constants.pkl') for name in archive.namelist()):
                raise UnpicklingError('Unsupported global torch.jit.load')  # TorchScript is a program
            if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
                raise ValueError('it claims to hold more bytes than the file has')
            if entry := archive.testzip():
                raise ValueError(f'the checksum of {entry:.100} is another one than when it was written')
            check_storage_claims(archive)


@cache
def _admitted() -> tuple[Callable, ...]:
    """What a checkpoint of the hosts holds beside tensors: numpy arrays and scalars, and the history of the log."""
    functions: dict[str, Any] = {
        '_reconstruct': np.zeros(1).__reduce__()[0],
        'scalar': np.float64(0).__reduce__()[0],
    }
    return (
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u4', 'u8', 'b1')),
        # numpy 2 renamed `core` to `_core`, and Python 2's name of `builtins` is what pickle protocol 2 writes.
        *(
            _under(f'numpy.{core}.multiarray', name, function)
            for core in ('core', '_core')
            for name, function in functions.items()
        ),
        *(_under(module, 'getattr', _statistic) for module in ('builtins', '__builtin__')),
        # How pickle protocol 2 writes the bytes of an array; PyTorch before 2.6 does not admit it by itself.
        _under('_codecs', 'encode', _latin1),
    )


def _statistic(owner: type, name: str) -> Callable:
    """Stands in for `getattr`: a log history refers to its own four statistics, and nothing else is looked up."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'Unsupported global getattr({owner},{name})')
    return getattr(owner, name)


def _latin1(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, which knows codecs that do more."""
    if encoding not in ('latin1', 'latin-1'):
        raise UnpicklingError(f'Unsupported global _codecs.encode({encoding})')
    return text.encode('latin1')


def _under(module: str, name: str, function: Callable) -> Callable:
    """The same function under the name that a pickle calls it by; PyTorch before 2.6 takes no (function, name) pair."""

    def call(*args: Any) -> Any:
        return function(*args)

    call.__module__, call.__name__, call.__qualname__ = module, name, name
    return call
