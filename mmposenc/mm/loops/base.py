"""What ranking and sweep have in common: a pass over the test data that takes each image once."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.runner import BaseLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from mmposenc.host.resume import with_batches
from mmposenc.layers import unwrap_model
from mmposenc.mm.datasets.region_subsets import image_folder, listed_positions
from mmposenc.mm.forwards import require_whole_images
from mmposenc.mm.hooks.channel_ablation import ChannelAblationHook
from mmposenc.ranking import file_sha256, model_fingerprint

_EMPTY = 'there are no images: check the ann_file of the data set, or the region list'
_ONE_SIZE = 'images of one batch must have one size, got {}: set test_dataloader.batch_size=1 or resize the images'


class ChannelLoop(BaseLoop):
    """A loop in place of a test that takes each image once, whatever the sampler of the data loader.

    `data_set` holds the images of `split`, `region_list` and `max_images` (see `ChannelRankingLoop`), `positions` says
    where they are in the whole data set.
    """

    dataloader: DataLoader

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        split: str,
        allow_slide: bool,
        region_list: str | None = None,
        max_images: int | None = None,
    ) -> None:
        if split not in ('all', 'even', 'odd'):
            raise ValueError(f'split must be one of all, even, odd, got {split!r}')
        if any(isinstance(hook, ChannelAblationHook) for hook in runner.hooks):
            raise ValueError('this loop needs the whole network: remove ChannelAblationHook from custom_hooks')
        self.model = unwrap_model(runner.model)
        require_whole_images(runner.model, allow_slide)
        try:
            super().__init__(runner, dataloader)
        except ValueError as error:
            if 'need at least one array to concatenate' in str(error):  # mmengine's words for an empty data set.
                raise ValueError(_EMPTY) from error
            raise
        whole: Any = self.dataloader.dataset
        listed: Sequence[int] = range(len(whole)) if region_list is None else listed_positions(whole, region_list)
        self.positions = [place for place in listed[:max_images] if split == 'all' or place % 2 == (split == 'odd')]
        self.data_set: Any = whole if len(self.positions) == len(whole) else Subset(whole, self.positions)
        self.num_images, self.batch_size = len(self.data_set), self.dataloader.batch_size or 1
        if not self.num_images:
            raise ValueError(_EMPTY)

    def test(self, batches: list[list[int]], measure: Callable[[Iterator[dict]], dict[str, float]]) -> dict[str, float]:
        """What a function makes of batches, given by their images' positions, with the hooks of a test."""
        call = self.runner.call_hook
        self.dataloader = with_batches(self.dataloader, batches, self.data_set)

        def given() -> Iterator[dict]:
            for idx, batch in enumerate(_whole(self.dataloader)):
                call('before_test_iter', batch_idx=idx, data_batch=batch)
                yield batch
                call('after_test_iter', batch_idx=idx, data_batch=batch, outputs=[])

        call('before_test')
        call('before_test_epoch')
        metrics = measure(given())
        call('after_test_epoch', metrics=metrics)
        call('after_test')
        return metrics

    def read(self, batches: list[list[int]]) -> Iterator[dict]:
        """Batches without hooks."""
        return _whole(with_batches(self.dataloader, batches, self.data_set))

    def describe_model(self) -> dict[str, str]:
        """The model's name, and fingerprints of its weights and checkpoint."""
        checkpoint = self.runner._load_from
        return dict(
            model=self.runner.model_name,
            model_sha256=model_fingerprint(self.model),
            checkpoint_sha256=file_sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else '',
        )


def describe_data(dataset: Any) -> str:
    """A data set's class, split and list, without folders, such as 'CityscapesDataset val val-left.txt'."""
    dataset = getattr(dataset, 'dataset', dataset)
    split = getattr(dataset, 'split', '') or Path(image_folder(dataset)).name
    listed = Path(getattr(dataset, 'ann_file', '') or '').name
    return ' '.join(str(part) for part in (type(dataset).__name__, split, listed) if part)


def _whole(dataloader: DataLoader) -> Iterator[dict]:
    """The batches of a loader, each of single images of one size."""
    try:
        for batch in dataloader:
            if not all(isinstance(image, Tensor) and image.ndim == 3 for image in batch['inputs']):
                raise ValueError('each image is taken once: use a test pipeline without test-time augmentation')
            sizes = {tuple(image.shape[-2:]) for image in batch['inputs']}
            if len(sizes) > 1:
                raise ValueError(_ONE_SIZE.format(sorted(sizes)))
            yield batch
    except RuntimeError as error:  # of PyTorch's default_collate, which mmpretrain's own tools fill in
        if 'stack expects each tensor to be equal size' in str(error):
            raise ValueError(_ONE_SIZE.format(str(error).partition('got ')[2])) from error
        raise
