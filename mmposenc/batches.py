"""What a data loader and a network give: the images and targets of a batch, the scores among a network's outputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, SequentialSampler

IMAGE_KEYS = ('image', 'images', 'pixel_values', 'inputs', 'input', 'img')
TARGET_KEYS = ('label', 'labels', 'target', 'targets', 'mask', 'masks')

Unpack = Callable[[Any], tuple[Any, Any]]
_UNPACK = 'pass unpack=, a function that returns (images, targets) of a batch'


def read_batch(batch: Any, unpack: Unpack | None = None) -> tuple[Tensor, Any]:
    """Images (N, channels, H, W) in floating point of a data loader's batch, and its targets, None if there are none.

    A batch is `(images, targets, ...)`, images alone, or a dict with one of `IMAGE_KEYS` and at most one of
    `TARGET_KEYS`; `unpack` returns `(images, targets)` of any other kind. A list of images of one size is stacked.
    """
    images: Any
    if unpack is not None:
        images, targets = unpack(batch)
    elif isinstance(batch, Mapping):
        images, targets = _value(batch, IMAGE_KEYS, required=True), _value(batch, TARGET_KEYS)
    elif isinstance(batch, (list, tuple)) and batch:
        images, targets = batch[0], batch[1] if len(batch) > 1 else None
    else:
        images, targets = batch, None
    if isinstance(images, (list, tuple)) and images and all(isinstance(image, Tensor) for image in images):
        sizes = sorted({tuple(image.shape) for image in images})
        if len(sizes) > 1:
            advice = 'use batch size 1 or resize them (padding would add positions of its own)'
            raise ValueError(f'images of one batch must have one size, got {sizes}: {advice}')
        images = torch.stack(list(images))
    if not isinstance(images, Tensor):
        got = f'{type(images).__name__}: {_UNPACK}'
    elif images.ndim == 3:
        got = f'one image {tuple(images.shape)}: set batch_size in the data loader, or add an axis: image[None]'
    elif images.ndim != 4 or not images.is_floating_point():
        got = f'{images.dtype} {tuple(images.shape)}'
    else:
        return images, targets
    raise ValueError(f'a batch must hold normalised images (N, 3, H, W) in floating point, got {got}')


def _value(batch: Mapping, keys: tuple[str, ...], required: bool = False) -> Any:
    found = [key for key in keys if key in batch]
    if len(found) > 1 or (required and not found):
        got = ', '.join(map(str, batch)) or 'none'
        raise ValueError(f'a batch must hold one of the keys {", ".join(keys)}, got {got}: {_UNPACK}')
    return batch[found[0]] if found else None


class Batch(NamedTuple):
    """Images and targets of a batch, the place of its first image in the data set, and the step to the next."""

    images: Tensor
    targets: Any
    position: int
    step: int


def read_batches(loader: Iterable, unpack: Unpack | None = None, model: nn.Module | None = None) -> Iterator[Batch]:
    """The batches of a data loader, on the device of `model` and in the type of its weights; each image once.

    With `torch.distributed` initialised, a process gets its share; images that a `DistributedSampler` repeats to give
    each process equally many are left out, and a data loader that would give each process all images is refused.
    """
    rank, step = processes()
    seen, share = 0, _share(loader, step)
    for batch in loader:
        images, targets = read_batch(batch, unpack)
        if not len(images):
            continue
        if share is not None and seen + len(images) > share:
            if seen >= share:
                break
            images, targets = images[: share - seen], _first(targets, share - seen)
        if model is not None:
            weights = (weight for weight in model.parameters() if weight.is_floating_point())
            images = images.to(model_device(model), next(weights, images).dtype)
        yield Batch(images, targets, rank + seen * step, step)
        seen += len(images)
    if not seen and share != 0:  # 0: fewer images than processes
        reason = 'the data set or the subset is empty, or the loader is an iterator that has been read before'
        raise ValueError(f'the loader gave no images: {reason}')


def _share(loader: Iterable, world_size: int) -> int | None:
    """How many of the first images of this process's loader are no repetitions; None for all."""
    if not isinstance(loader, DataLoader) or type(loader.batch_sampler) not in (BatchSampler, type(None)):
        return None
    sampler = loader.sampler
    if isinstance(sampler, DistributedSampler):
        if loader.batch_sampler is None:
            raise ValueError('DistributedSampler needs batches: set batch_size in the data loader, got None')
        size = len(loader.dataset)  # type: ignore[arg-type]
        return None if sampler.drop_last else -((sampler.rank - size) // sampler.num_replicas)
    if world_size > 1 and isinstance(sampler, (SequentialSampler, RandomSampler)):
        advice = 'give the data loader sampler=DistributedSampler(dataset, shuffle=False)'
        raise ValueError(f'each of the {world_size} processes would get all images: {advice}')
    return None


def _first(targets: Any, number: int) -> Any:
    if isinstance(targets, Mapping):
        return {name: _first(value, number) for name, value in targets.items()}
    return targets[:number] if isinstance(targets, (Tensor, list, tuple)) else targets


def read_logits(output: Any) -> Tensor:
    """The scores among a network's outputs: a tensor, 'logits' or 'out' of a dict, `.logits`, or first in a tuple."""
    for _ in range(3):
        if isinstance(output, Tensor):
            return output
        if isinstance(output, Mapping) and ('logits' in output or 'out' in output):
            output = output['logits' if 'logits' in output else 'out']
        elif hasattr(output, 'logits'):
            output = output.logits
        elif isinstance(output, (list, tuple)) and output:
            output = output[0]
        else:
            break
    kinds = 'a tensor, a dict with "logits" or "out", an object with .logits, or a tuple that starts with one'
    advice = 'pass forward=, a function from images to scores'
    raise ValueError(f'the network must give scores: {kinds}, got {type(output).__name__}: {advice}')


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode while the block runs; each module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def model_device(model: nn.Module) -> torch.device:
    """The device of a network's first parameter or buffer; the CPU if it has none."""
    return next(chain(model.parameters(), model.buffers()), torch.empty(0, device='cpu')).device


def processes() -> tuple[int, int]:
    """The number of this process and how many there are, by `torch.distributed`."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def all_reduce_sum_(tensor: Tensor) -> Tensor:
    """Add a tensor up over all processes, in place; without `torch.distributed` nothing happens."""
    if processes()[1] > 1:
        if distributed.get_backend() == 'nccl' and not tensor.is_cuda:
            tensor.copy_(all_reduce_sum_(tensor.cuda()))
        else:
            distributed.all_reduce(tensor)
    return tensor
