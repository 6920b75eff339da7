"""Fingerprints that tie a ranking to the weights it was made from (ours)."""

import ctypes
import hashlib
import os
from pathlib import Path

from torch import Tensor, nn


def model_fingerprint(module: nn.Module) -> str:
    """SHA-256 of the state dict: names in sorted order, with type, shape and bytes of each tensor (ours).

    The same on every device and for every memory format.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
            _add_bytes(digest, tensor)
    return digest.hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file such as a checkpoint (ours)."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no file at {path}: give the path of a checkpoint')
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _add_bytes(digest: 'hashlib._Hash', tensor: Tensor) -> None:
    # A view of the memory itself: no copy, and no need for numpy.
    dense = tensor.detach().cpu().contiguous()
    if dense.numel():
        digest.update((ctypes.c_char * (dense.numel() * dense.element_size())).from_address(dense.data_ptr()))
