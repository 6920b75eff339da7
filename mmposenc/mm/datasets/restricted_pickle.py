"""Reads a pickle that may hold data and nothing else.

The CIFAR files are pickles, and an ordinary unpickler runs whatever a pickle asks for. Here every global that numpy
needs to describe an array is answered by an inert stand-in of this file, which keeps the description; the arrays are
made from the raw bytes, without a copy. Not one function of another library is called on behalf of the pickle.
"""

import mmap
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ['ForbiddenPickleError', 'load_data_pickle']


class ForbiddenPickleError(ValueError):
    """A pickle asks for more than data (ours)."""


def load_data_pickle(path: Path, known: bool = False) -> dict[str, Any]:
    """Loads a pickled dict of numpy arrays, lists, strings, bytes and numbers (ours).

    Pickles of Python 2 (the official CIFAR files) and 3 are read, of every protocol. Text of a Python 2 pickle stays
    bytes, except for the keys of the dict.

    Args:
        path: The file.
        known: Its checksum has been compared with an official one, so it claims no more than it holds.

    Raises:
        ForbiddenPickleError: If the pickle names any function or class but those of plain numpy arrays and scalars.
            Nothing of it has run then.
        ValueError: If the file is truncated, is no pickle, or does not hold a dict.
    """
    try:
        with path.open('rb') as file:
            if not known:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                    _check_claims(view)
            content = _plain(_DataUnpickler(file, encoding='bytes').load(), {})
    except ForbiddenPickleError as error:
        raise ForbiddenPickleError(
            f'{path} {error}. Nothing of it was run. Do not trust this file: delete it and fetch the official one.'
        ) from None
    except OSError:
        raise
    except Exception as error:  # a broken pickle fails in whatever way its bytes happen to spell
        raise ValueError(
            f'{path} cannot be read: it is truncated or not a pickle ({type(error).__name__}: {error}). '
            'Delete it and fetch it again.'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} must hold a dict, got {type(content).__name__}')
    return {_text(key): value for key, value in content.items()}


def _check_claims(view: mmap.mmap) -> None:
    """Refuses a pickle that names more than it holds: the unpickler would make room for it before it looks."""
    for opcode, argument, _ in pickletools.genops(view):  # type: ignore[arg-type]
        if opcode.name in ('PUT', 'LONG_BINPUT', 'FRAME') and int(argument or 0) > len(view):
            raise ValueError(f'{opcode.name} {argument} in a file of {len(view)} bytes')


class _Dtype:
    """Keeps the code ('u1', 'i8', ...) and the byte order of a simple dtype."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order, self.is_plain = _word(code), '=', True

    def __setstate__(self, state: tuple) -> None:
        version, self.order, *parts, size, alignment, flags = (state[0], _word(state[1]), *state[2:])
        described = (version, parts, type(size), type(alignment))
        self.is_plain = described == (3, [None] * 3, int, int) and flags in (0, 8)

    def build(self) -> np.dtype:
        if not re.fullmatch(r'[biufSU]\d+', self.code) or self.order not in tuple('<>=|'):
            raise ForbiddenPickleError(
                f'holds a numpy array of dtype {self.code!r}; allowed are numbers, booleans and strings'
            )
        if not self.is_plain:
            raise ForbiddenPickleError('holds a numpy array whose dtype is not described as numpy describes plain ones')
        return np.dtype(f'{self.order}{self.code}')


class _Array:
    """Stands for an array until its state arrives."""

    array: np.ndarray

    def __init__(self, _: Any, shape: Any, code: Any) -> None:
        """Takes numpy's description of an empty array, which is always the same."""
        if (shape, code) != ((0,), b'b'):
            raise ValueError('an array that does not begin as an empty one')

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, is_fortran, raw = state
        if version != 1 or not isinstance(is_fortran, bool):
            raise ValueError('an array that is not described as numpy describes it')
        self.array = _array(raw, dtype, shape, 'F' if is_fortran else 'C')


def _array(raw: bytes, dtype: _Dtype, shape: tuple, order: Any) -> np.ndarray:
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f'an array of the shape {shape!r:.60}')
    return np.frombuffer(raw, dtype.build()).reshape(shape, order=order)


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.build(), count=1)[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the older protocols."""
    if encoding != 'latin1':
        raise ForbiddenPickleError('encodes text in another way than latin1, which stands for bytes')
    return text.encode('latin1')


_STAND_INS: dict[str, Callable] = {
    'numpy.ndarray': _Array,
    'numpy.dtype': _Dtype,
    '_codecs.encode': _encoded,
    # numpy 1 and numpy 2 name the same functions differently.
    'numpy.core.multiarray._reconstruct': _Array,
    'numpy._core.multiarray._reconstruct': _Array,
    'numpy.core.multiarray.scalar': _scalar,
    'numpy._core.multiarray.scalar': _scalar,
    'numpy.core.numeric._frombuffer': _array,
    'numpy._core.numeric._frombuffer': _array,
}


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable:
        stand_in = _STAND_INS.get(f'{module}.{name}')
        if stand_in is None:
            raise ForbiddenPickleError(
                f'asks for the global {module}.{name}, which is forbidden: only numpy arrays and scalars, lists, '
                'dicts, strings, bytes and numbers are admitted'
            )
        # A fresh wrapper each time: a pickle can set attributes on what it is handed, and those must not last.
        return lambda *arguments: stand_in(*arguments)


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Puts the arrays in the places of their stand-ins; what is there twice is looked at once."""
    if isinstance(value, _Array):
        return value.array
    if not isinstance(value, list | tuple | dict):
        return value
    if id(value) not in done:
        if isinstance(value, dict):
            done[id(value)] = {_plain(key, done): _plain(item, done) for key, item in value.items()}
        else:
            done[id(value)] = type(value)(_plain(item, done) for item in value)
    return done[id(value)]


def _word(value: Any) -> str:
    if not isinstance(value, bytes | str):
        raise ForbiddenPickleError('holds a numpy array whose dtype is no text')
    return _text(value)


def _text(value: Any) -> str:
    return value.decode('latin1') if isinstance(value, bytes) else str(value)
