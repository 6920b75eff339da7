"""What result objects share, and files that are never partially written."""

import html
import json
import os
from abc import abstractmethod
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

R = TypeVar('R', bound='Result')


class Result:
    """Mixin of the frozen dataclasses that functions return: a table, and a file that describes itself.

    Fields may be numbers, text, None, tensors (read back on the CPU), and tuples and dicts (with text as keys) of
    these. `FORMAT` is the format's name and version, `OBSOLETE` names entries that earlier versions wrote.
    """

    FORMAT: ClassVar[str]
    OBSOLETE: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def table(self) -> list[dict[str, Any]]:
        """One dict per row with the same keys in each, ready for `pandas.DataFrame`."""

    def save(self, path: str | os.PathLike) -> Path:
        """Write the result as JSON."""
        document = {item.name: _packed(getattr(self, item.name)) for item in fields(self)}  # type: ignore[arg-type]
        return atomic_write(path, json.dumps({'format': self.FORMAT, **document}, allow_nan=False) + '\n')

    @classmethod
    def load(cls: type[R], path: str | os.PathLike) -> R:
        """Read a file that `save` wrote; ValueError if it holds something else."""
        document = cls._document(path)
        try:
            return cls(**{name: _unpacked(value) for name, value in document.items() if name not in cls.OBSOLETE})
        except (TypeError, ValueError) as error:
            raise ValueError(f'{path} is not a complete file of the format {cls.FORMAT!r}: {error}') from None

    @classmethod
    def _document(cls, path: str | os.PathLike) -> dict[str, Any]:
        try:
            document = json.loads(Path(path).read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{path} is not JSON, or is cut short: {error}') from None
        found = document.pop('format', None) if isinstance(document, dict) else None
        if found != cls.FORMAT:
            raise ValueError(f'{path} must have the format {cls.FORMAT!r}, got {found!r:.60}')
        return document

    def _repr_html_(self) -> str:
        return html_table(self.table())


def html_table(rows: list[dict[str, Any]]) -> str:
    """Rows as an HTML table, as notebooks show it."""

    def cell(value: Any) -> str:
        return f'{value:.4g}' if isinstance(value, float) else html.escape('' if value is None else str(value))

    head = ''.join(f'<th>{html.escape(str(name))}</th>' for name in (rows[0] if rows else ()))
    body = ''.join('<tr>' + ''.join(f'<td>{cell(value)}</td>' for value in row.values()) + '</tr>' for row in rows)
    return f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _packed(value: Any) -> Any:
    match value:
        case Tensor():
            dtype = str(value.dtype).removeprefix('torch.')
            return {'tensor': _packed(value.tolist()), 'dtype': dtype, 'shape': list(value.shape)}
        case np.generic():
            return _packed(value.item())
        case float() if not -float('inf') < value < float('inf'):
            return {'float': str(value)}
        case list() | tuple():
            return [_packed(item) for item in value]
        case dict():
            return {name: _packed(item) for name, item in value.items()}
    return value


def _unpacked(value: Any) -> Any:
    match value:
        case list():
            return tuple(_unpacked(item) for item in value)
        case {'tensor': items, 'dtype': dtype, 'shape': shape}:
            return torch.tensor(_unpacked(items), dtype=getattr(torch, dtype)).view(shape)
        case {'float': text} if len(value) == 1:
            return float(text)
        case dict():
            return {name: _unpacked(item) for name, item in value.items()}
    return value


def atomic_write(path: str | os.PathLike, content: str | bytes) -> Path:
    """Write a file, and its folders, under a temporary name and rename it: no file is ever partially written."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f'.{target.name}.{os.getpid()}.tmp')
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        with temporary.open('rb+') as file:  # Without it, a loss of power may leave the new name on an empty file.
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
