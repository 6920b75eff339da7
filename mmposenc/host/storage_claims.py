"""How much memory the tensors of a checkpoint claim, read without making one of them (ours)."""

import pickle
from io import BytesIO
from typing import Any
from zipfile import ZipFile

__all__ = ['check_storage_claims']

# Bytes of a number, by the name of its kind of storage; newer types are saved as UntypedStorage.
_SIZES = {
    **dict.fromkeys(
        ('UntypedStorage', 'ByteStorage', 'CharStorage', 'BoolStorage', 'QUInt8Storage', 'QInt8Storage'), 1
    ),
    **dict.fromkeys(('QUInt4x2Storage', 'QUInt2x4Storage'), 1),
    **dict.fromkeys(('ShortStorage', 'HalfStorage', 'BFloat16Storage'), 2),
    **dict.fromkeys(('IntStorage', 'FloatStorage', 'QInt32Storage'), 4),
    **dict.fromkeys(('LongStorage', 'DoubleStorage', 'ComplexFloatStorage'), 8),
    'ComplexDoubleStorage': 16,
}


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
        return _SIZES.get(name, _Inert) if module.startswith('torch') else _Inert

    def persistent_load(self, pid: Any) -> _Inert:
        _, size, key, _, number = pid
        if not isinstance(size, int):
            raise pickle.UnpicklingError('a storage is of no known kind')
        self.claims.append((str(key), number * size))
        return _Inert()
