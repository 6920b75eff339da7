"""Reads a pickle that may hold data and nothing else.

The CIFAR files are pickles, and an ordinary unpickler runs whatever a pickle asks for. Here every global that numpy
needs to describe an array is answered by an inert stand-in of this file, which keeps the description; the arrays are
made from the raw bytes, without a copy. Not one function of another library is called on behalf of the pickle.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ['ForbiddenPickleError', 'load_data_pickle']


class ForbiddenPickleError(ValueError):
    """A pickle asks for more than data (ours)."""


def load_data_pickle(path: Path) -> dict[str, Any]:
    """Loads a pickled dict of numpy arrays, lists, strings, bytes and numbers (ours).

    Pickles of Python 2 (the official CIFAR files) and 3 are read, of every protocol. Text of a Python 2 pickle stays
    bytes, except for the keys of the dict.

    Args:
        path: The file.

    Raises:
        ForbiddenPickleError: If the pickle names any function or class but those of plain numpy arrays and scalars.
            Nothing of it has run then.
        ValueError: If the file is truncated, is no pickle, or does not hold a dict.
    """
    try:
        with path.open('rb') as file:
            content = _plain(_DataUnpickler(file, encoding='bytes').load())
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


class _Dtype:
    """Keeps the code ('u1', 'i8', ...) and the byte order of a simple dtype."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = _text(code), '='

    def __setstate__(self, state: tuple) -> None:
        self.order = _text(state[1])

    def build(self) -> np.dtype:
        if not re.fullmatch(r'[biufSU]\d+', self.code) or self.order not in '<>=|':
            raise ForbiddenPickleError(
                f'holds a numpy array of dtype {self.code!r}; allowed are numbers, booleans and strings'
            )
        return np.dtype(f'{self.order}{self.code}')


class _Array:
    """Stands for an array until its state arrives."""

    array: np.ndarray

    def __init__(self, *_: Any) -> None:
        """Takes and ignores the type, shape and code of numpy's empty array."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.array = _array(raw, dtype, shape, 'F' if is_fortran else 'C')


def _array(raw: bytes, dtype: _Dtype, shape: tuple, order: Any) -> np.ndarray:
    return np.frombuffer(raw, dtype.build()).reshape(shape, order=order)


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.build(), count=1)[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the older protocols."""
    if encoding != 'latin1':
        raise ForbiddenPickleError(f'encodes text as {encoding!r}; allowed is latin1, which stands for bytes')
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


def _plain(value: Any) -> Any:
    """Puts the arrays in the places of their stand-ins."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value


def _text(value: Any) -> str:
    return value.decode('latin1') if isinstance(value, bytes) else str(value)
