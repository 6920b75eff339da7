"""How much memory the tensors of a checkpoint claim, read without making one of them (ours)."""

import pickle
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import torch

__all__ = ['check_storage_claims']


def check_storage_claims(archive: ZipFile) -> None:
    """Refuse a checkpoint with a tensor that is larger than its bytes in the file (ours).

    PyTorch 2.4 makes such a tensor, and reads what lies in memory behind it.

    Raises:
        ValueError: If there is one.
    """
    entries = {entry.filename: entry.file_size for entry in archive.infolist()}
    for name in [name for name in entries if name.endswith('data.pkl')]:
        reader = _Reader(BytesIO(archive.read(name)), encoding='utf-8')
        reader.load()
        for key, claimed in reader.claims:
            held = entries.get(f'{name.removesuffix("data.pkl")}data/{key}', 0)
            if not 0 <= claimed <= held:
                raise ValueError(f'a tensor claims {claimed} bytes of {held}')


class _Inert:
    """Stands in for everything that a pickle names: takes whatever is done to it, and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> '_Inert':
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> '_Inert':
        return self

    append = extend = add = update = __setitem__ = __setstate__ = __call__


class _Reader(pickle._Unpickler):  # The one in Python: its memo takes no more room than what is put there.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.claims: list[tuple[str, int]] = []

    def find_class(self, module: str, name: str) -> Any:
        kind = getattr(torch, name, None) if module in ('torch', 'torch.storage') and name.endswith('Storage') else None
        return kind if isinstance(getattr(kind, 'dtype', None), torch.dtype) or kind is torch.UntypedStorage else _Inert

    def persistent_load(self, pid: Any) -> _Inert:
        _, kind, key, _, number = pid
        size = 1 if kind is torch.UntypedStorage else getattr(kind, 'dtype', torch.complex128).itemsize
        self.claims.append((str(key), number * size))
        return _Inert()
