"""Which images a process counts, and what the data set is called."""

from pathlib import Path

from mmengine.dataset import DefaultSampler
from mmengine.dist import get_dist_info
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

_EMPTY = 'the data set or the subset is empty, so there is nothing to rank: check its ann_file'


def build_loader(dataloader: DataLoader | dict) -> DataLoader:
    """The data loader, built if it is not yet; an empty data set fails in mmengine without saying that it is (ours).

    Raises:
        ValueError: If mmengine cannot join the samples of the data set because there are none.
    """
    if isinstance(dataloader, DataLoader):
        return dataloader
    try:
        return Runner.build_dataloader(dataloader)
    except ValueError as error:
        if 'need at least one array to concatenate' in str(error):
            raise ValueError(_EMPTY) from error
        raise


def loader_of(batches: list[list[int]], like: DataLoader) -> DataLoader:
    """A loader of these batches of positions, in everything else like another one (ours)."""
    return DataLoader(
        like.dataset,
        batch_sampler=batches,
        num_workers=like.num_workers,
        collate_fn=like.collate_fn,
        pin_memory=like.pin_memory,
        worker_init_fn=like.worker_init_fn,
        prefetch_factor=like.prefetch_factor,
        multiprocessing_context=like.multiprocessing_context,
    )


def share_of_rank(dataloader: DataLoader) -> int:
    """Number of images that this process counts, the first that its loader gives (ours).

    mmengine's sampler deals images out in turn: rank r of W gets those at positions r, r + W, ... of one order, which
    it lengthens by repeated images until the ranks have equally many. An image after the first n / W is a repetition.

    Raises:
        ValueError: If there is no image, there are fewer images than processes, or several processes have another
            sampler, whose repetitions are not known.
    """
    size = len(dataloader.dataset)  # type: ignore[arg-type]
    rank, world_size = get_dist_info()
    if not size:
        raise ValueError(_EMPTY)
    if size < world_size:
        raise ValueError(f'{world_size} processes cannot share {size} images: start at most {size}')
    if world_size > 1 and not isinstance(dataloader.sampler, DefaultSampler):
        raise ValueError(
            f"several processes need sampler=dict(type='DefaultSampler', shuffle=False) in test_dataloader, got "
            f'{type(dataloader.sampler).__name__}: it may give an image to two of them'
        )
    return -((rank - size) // world_size)


def describe_data(dataset: Dataset) -> str:
    """What a data set is, for the reader of a ranking: class, split and list, without folders (ours).

    Example:
        >>> describe_data(cityscapes_val)
        'CityscapesDataset val val-left.txt'
    """
    folder = getattr(dataset, 'data_prefix', {}).get('img_path') or ''
    split = getattr(dataset, 'split', '') or Path(folder).name
    listed = Path(getattr(dataset, 'ann_file', '') or '').name
    return ' '.join(str(part) for part in (type(dataset).__name__, split, listed) if part)
