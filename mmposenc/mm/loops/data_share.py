"""A loader of given batches."""

from torch.utils.data import DataLoader


def loader_of(batches: list[list[int]], like: DataLoader) -> DataLoader:
    """A loader of these batches of positions, in everything else like another one."""
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
