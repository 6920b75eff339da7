"""A tensor of a checkpoint must have its bytes in the file."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch

from mmposenc.storage_claims import check_storage_claims


def archive_of(content: object, old: bytes = b'', new: bytes = b'') -> zipfile.ZipFile:
    """The checkpoint as PyTorch saves it, with bytes of its pickle replaced."""
    saved, changed = io.BytesIO(), io.BytesIO()
    torch.save(content, saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(changed, 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith('data.pkl'):
                assert old in data
                data = data.replace(old, new) if old else data
            target.writestr(name, data)
    return zipfile.ZipFile(changed)


def test_what_pytorch_saves_claims_what_it_holds() -> None:
    shared = torch.arange(6.0)
    kinds = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn]
    kinds += [
        torch.int8,
        torch.uint8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.bool,
        torch.complex64,
        torch.complex128,
    ]
    content = OrderedDict(
        {str(kind): torch.ones(3, 2).to(kind) for kind in kinds},
        views=[shared[:2], shared[4:]],
        parameter=torch.nn.Parameter(torch.zeros(0)),
        storage=torch.zeros(5).untyped_storage(),
    )
    with archive_of(content) as archive:
        check_storage_claims(archive)


@pytest.mark.parametrize('number', [5, 10**9, 10**15, -1])
def test_a_tensor_larger_than_its_bytes(number: int) -> None:
    claim = b'\x8a\x08' + struct.pack('<q', number)
    with (
        archive_of({'w': torch.ones(4)}, b'K\x04', claim) as archive,
        pytest.raises(ValueError, match=f'a tensor claims {4 * number} bytes of 16'),
    ):
        check_storage_claims(archive)


def test_a_tensor_without_bytes() -> None:
    old = b'X\x01\x00\x00\x000'  # the key of its storage
    with (
        archive_of({'w': torch.ones(4)}, old, old[:-1] + b'7') as archive,
        pytest.raises(ValueError, match='claims 16 bytes of 0'),
    ):
        check_storage_claims(archive)


def test_a_storage_of_no_kind() -> None:
    with (
        archive_of({'w': torch.ones(4)}, b'FloatStorage', b'OtherStorage') as archive,
        pytest.raises(pickle.UnpicklingError, match='no known kind'),
    ):
        check_storage_claims(archive)


def test_nothing_that_a_pickle_names_is_called(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Hostile:
        def __reduce__(self) -> tuple:
            return open, ('canary', 'w')

    saved = io.BytesIO()
    with zipfile.ZipFile(saved, 'w') as archive:
        archive.writestr('archive/data.pkl', pickle.dumps([Hostile(), {1: Hostile()}]))
        check_storage_claims(archive)
    assert not list(tmp_path.iterdir())
    pickle.loads(pickle.dumps(Hostile())).close()
    assert [path.name for path in tmp_path.iterdir()] == ['canary']
