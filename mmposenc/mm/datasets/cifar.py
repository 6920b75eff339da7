"""CIFAR-10 and CIFAR-100 in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mmengine.dist import barrier, is_main_process

from mmposenc.mm.datasets.cifar_archive import ARCHIVES
from mmposenc.mm.datasets.cifar_split import read_cifar_split
from mmposenc.mm.datasets.in_memory_images import InMemoryImages
from mmposenc.mm.datasets.prepare_cifar import prepare_cifar
from mmposenc.registry import DATASETS

__all__ = ['CIFAR10', 'CIFAR100']


@DATASETS.register_module()
class CIFAR10(InMemoryImages):
    """CIFAR-10 in memory, one uint8 tensor per split (Table 1, Table 2).

    Reads `cifar-10-batches-py/` under `data_root`, or `cifar-10-python.tar.gz` there, or downloads that. The class
    names are known without the meta file; where it lies, it must agree. Under a distributed launch only the first
    process downloads and unpacks. See `InMemoryImages` for what a batch is.

    Args:
        data_root: The folder that holds (or shall hold) the unpacked folder. Default: data/cifar10, below the current
            folder.
        split: 'train' (50,000 images) or 'test' (10,000).
        indices: Keep the first n samples (an integer) or these positions (a sequence). Default: all.
        fraction: Keep this share, evenly spaced, in (0, 1]. Default: all.
        verify: Compare the md5 of every file with the official one before it is unpickled. False accepts a re-packed
            copy of the same layout: uint8 data (n, 3072), labels in range. What is downloaded is always verified.
        download: Fetch the archive when there are no data.

    Raises:
        FileNotFoundError: If there are no data and none can be had; says which file to put where.
        ValueError: If a file is truncated, swapped, altered or hostile, or an argument is out of range.

    Example:
        >>> train_dataloader = dict(
        ...     batch_size=512, num_workers=0, collate_fn=dict(type='mmposenc.pass_batch'),
        ...     sampler=dict(type='DefaultSampler', shuffle=True),
        ...     dataset=dict(type='mmposenc.CIFAR10', data_root='data/cifar10', split='train'))
    """

    archive_name: ClassVar[str] = 'CIFAR10'

    def __init__(
        self,
        data_root: str | None = None,
        split: str = 'train',
        indices: int | Sequence[int] | None = None,
        fraction: float | None = None,
        verify: bool = True,
        download: bool = True,
    ) -> None:
        archive = ARCHIVES[self.archive_name]
        if split not in archive.splits:
            raise ValueError(f'split must be one of {list(archive.splits)}, got {split!r}')
        root = Path(data_root or f'data/{self.archive_name.lower()}')
        try:
            if is_main_process():
                prepare_cifar(archive, root, split, verify, download)
        finally:  # the others must not wait for ever when the first process fails
            barrier()
        images, labels = read_cifar_split(archive, root / archive.folder, split, verify)
        super().__init__(images, labels, archive.classes, indices, fraction)


@DATASETS.register_module()
class CIFAR100(CIFAR10):
    """CIFAR-100 in memory, one uint8 tensor per split, with its 100 fine classes (Table 2).

    Reads `cifar-100-python/` under `data_root` (default: data/cifar100), or `cifar-100-python.tar.gz` there, or
    downloads that. Arguments and errors are those of `CIFAR10`.

    Example:
        >>> dataset = dict(type='mmposenc.CIFAR100', data_root='data/cifar100', split='test', fraction=0.1)
    """

    archive_name = 'CIFAR100'
