"""The loop that ranks a network's channels over the runner's test data."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.dataset import DefaultSampler
from mmengine.dist import get_dist_info, is_main_process
from mmengine.runner import BaseLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from mmposenc.channels import PairedSums, collect_sums
from mmposenc.channels.pairs import check_pairs
from mmposenc.channels.rank import check_reference, make_ranking
from mmposenc.layers import find_module, unwrap_model
from mmposenc.mm.forwards import require_whole_images, tensor_forward
from mmposenc.mm.hooks.channel_ablation import ChannelAblationHook
from mmposenc.ranking import Ranking, file_sha256, model_fingerprint
from mmposenc.registry import LOOPS

_EMPTY = 'the data set or the subset is empty, so there is nothing to rank: check its ann_file'
_SAMPLER = "sampler=dict(type='DefaultSampler', shuffle=False)"


@LOOPS.register_module()
class ChannelRankingLoop(BaseLoop):
    """Ranks the channels of a layer over the test data set, in place of a test (Sec. 4.2.1, Eq. 2 and 3).

    Any model of mmseg or mmpretrain, with its own test pipeline and data preprocessor. Several pairs and statistics
    take one pass. Images are flipped or rolled before the preprocessor pads them. Images that a sampler repeats to give
    each process equally many are left out. Whole images are compared, also with `allow_slide`.

    Args:
        evaluator: Not used: a Runner gives it to any test loop, and a ranking needs no labels.
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        pairs: Names out of `mmposenc.channels.PAIRS`. Default: Eq. 2's.
        statistics: Names out of `mmposenc.channels.STATISTICS`. Default: Eq. 2's.
        out: The ranking's file, default `ranking.json` in the work directory. Of several rankings each has pair and
            statistic in its name: `ranking-flip_image-abs.json`.
        region: Where the objects of the images are, for the reader: 'overall', 'left', ...
        reference: For 'centred', the file of the 'signed' ranking of the whole data set by the same pair.
        data_set: What the images are, for the reader. Default: the data set's class, split and list.
        rank_split: 'all' images, or every second one, 'even' or 'odd', so that a sweep can use the others.
        allow_slide: Accept a model that is tested by sliding windows.
        channel_dim: Dimension of the layer's channels; None to establish it (see `mmposenc.layers.layer_hook`).
        prefix_tokens: Tokens that are no patches, left out of the mean; None to establish it.

    Attributes:
        rankings: By file, once the loop has run.

    Example:
        >>> test_cfg = dict(type='mmposenc.ChannelRankingLoop', layer='backbone[-1]', out='ranking.json')
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Any = None,
        *,
        layer: str,
        pairs: Sequence[str] = ('flip_image',),
        statistics: Sequence[str] = ('abs',),
        out: str | None = None,
        region: str = 'overall',
        reference: str | None = None,
        data_set: str | None = None,
        rank_split: str = 'all',
        allow_slide: bool = False,
        channel_dim: int | None = None,
        prefix_tokens: int | None = None,
    ) -> None:
        check_pairs(pairs)
        if isinstance(statistics, str) or not pairs or not statistics:
            raise ValueError(f'pairs and statistics must be lists of names, got {pairs!r} and {statistics!r}')
        self.reference = None if reference is None else Ranking.load(reference)
        if self.reference is not None and 'centred' not in statistics:
            raise ValueError("reference, a 'signed' ranking of the whole data set, goes with statistic 'centred' only")
        for pair, statistic in product(pairs, statistics):
            check_reference(statistic, self._reference_of(statistic), pair, layer)
        if rank_split not in ('all', 'even', 'odd'):
            raise ValueError(f'rank_split must be one of all, even, odd, got {rank_split!r}')
        self.model = unwrap_model(runner.model)
        find_module(self.model, layer)
        require_whole_images(runner.model, allow_slide)
        loader = build_loader(dataloader)
        self.layer, self.pairs, self.statistics, self.region = layer, tuple(pairs), tuple(statistics), region
        self.channel_dim, self.prefix_tokens = channel_dim, prefix_tokens
        self.out = Path(runner.work_dir, 'ranking.json') if out is None else Path(out)
        self.data_set = describe_data(loader.dataset) if data_set is None else data_set
        if rank_split != 'all':
            self.data_set = f'{self.data_set}, {rank_split} images'
            loader = every_second(loader, rank_split)
        super().__init__(runner, loader)
        self.rankings: dict[Path, Ranking] = {}
        self._batch: dict = {}

    def run(self) -> dict[str, float]:
        """Rank, write the files, and return the number of images and of channels, and each ranking's reliability."""
        if any(isinstance(hook, ChannelAblationHook) for hook in self.runner.hooks):
            raise ValueError('a ranking is of the whole network: take ChannelAblationHook out of custom_hooks')
        share = share_of_rank(self.dataloader)
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.model.eval()
        sums = self._add_up(share)
        self._rank(sums)
        if is_main_process():
            for path, ranking in self.rankings.items():
                ranking.save(path)
        first = sums[self.pairs[0]]
        metrics = {'images': float(first.num_images), 'channels': float(first.num_channels)}
        for ranking in self.rankings.values():
            if ranking.reliability is not None:
                metrics[f'reliability/{ranking.pair}-{ranking.statistic}'] = ranking.reliability
        self.runner.visualizer.add_scalars({f'rank/{name}': value for name, value in metrics.items()})
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def _add_up(self, share: int) -> dict[str, PairedSums]:
        try:
            sums = collect_sums(
                self.model,
                self._images(share),
                self.layer,
                self.pairs,
                self._forward,
                channel_dim=self.channel_dim,
                prefix_tokens=self.prefix_tokens,
            )
        except RuntimeError as error:
            # PyTorch's default_collate, which mmpretrain's own tools fill in.
            if 'stack expects each tensor to be equal size' in str(error):
                raise ValueError(_different_sizes(str(error).partition('size, ')[2])) from error
            raise
        images, size = sums[self.pairs[0]].num_images, len(self.dataloader.dataset)
        if images != size:
            raise ValueError(
                f'{images} images were ranked of a data set of {size}: each must be seen once; use drop_last=False and '
                f'{_SAMPLER} in test_dataloader'
            )
        return sums

    def _images(self, share: int) -> Iterator[tuple[list[Tensor], None]]:
        """The first `share` images as the data loader gives them: the rest is a sampler's padding."""
        for idx, batch in enumerate(self.dataloader):
            self._batch = batch
            self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=batch)
            inputs = batch['inputs'][: max(share, 0)]
            share -= len(inputs)
            if any(not isinstance(image, Tensor) for image in inputs):
                raise ValueError('a ranking takes each image once: use a test pipeline without test-time augmentation')
            if len(inputs):
                yield [image.float() for image in inputs], None
            self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=batch, outputs=[])

    def _forward(self, images: Tensor) -> object:
        return tensor_forward(self.model, self._batch)(images)

    def _reference_of(self, statistic: str) -> Ranking | None:
        return self.reference if statistic == 'centred' else None

    def _rank(self, sums: dict[str, PairedSums]) -> None:
        checkpoint = self.runner._load_from
        about = dict(
            layer=self.layer,
            region=self.region,
            model=self.runner.model_name,
            model_sha256=model_fingerprint(self.model),
            checkpoint_sha256=file_sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else '',
            data_set=self.data_set,
        )
        several = len(self.pairs) * len(self.statistics) > 1
        for pair, statistic in product(self.pairs, self.statistics):
            name = f'{self.out.stem}-{pair}-{statistic}{self.out.suffix}' if several else self.out.name
            ranking = make_ranking(sums[pair], statistic, self._reference_of(statistic), pair=pair, **about)
            self.rankings[self.out.with_name(name)] = ranking


def _different_sizes(got: str) -> str:
    return (
        f'images of one batch must have one size, {got}: set test_dataloader.batch_size=1 or resize the images in the '
        'test pipeline (padding would add positions of its own)'
    )


def build_loader(dataloader: DataLoader | dict) -> DataLoader:
    """The data loader, built if it is not yet; an empty data set fails in mmengine without saying that it is."""
    if isinstance(dataloader, DataLoader):
        return dataloader
    try:
        return Runner.build_dataloader(dataloader)
    except ValueError as error:
        if 'need at least one array to concatenate' in str(error):
            raise ValueError(_EMPTY) from error
        raise


def every_second(dataloader: DataLoader, half: str) -> DataLoader:
    """A loader like another one, of the 'even' or the 'odd' images of its data set, in their order."""
    positions = range(half == 'odd', len(dataloader.dataset), 2)  # type: ignore[arg-type]
    dataset: Dataset = Subset(dataloader.dataset, positions)
    sampler = DefaultSampler(dataset, shuffle=False) if len(positions) else None
    return _loader_like(dataloader, dataset, batch_size=dataloader.batch_size, sampler=sampler)


def loader_of(batches: list[list[int]], like: DataLoader) -> DataLoader:
    """A loader of these batches of positions, in everything else like another one."""
    return _loader_like(like, like.dataset, batch_sampler=batches)


def _loader_like(like: DataLoader, dataset: Dataset, **options: Any) -> DataLoader:
    return DataLoader(
        dataset,
        num_workers=like.num_workers,
        collate_fn=like.collate_fn,
        pin_memory=like.pin_memory,
        worker_init_fn=like.worker_init_fn,
        prefetch_factor=like.prefetch_factor,
        multiprocessing_context=like.multiprocessing_context,
        **options,
    )


def share_of_rank(dataloader: DataLoader) -> int:
    """Number of images that this process counts, the first that its loader gives.

    mmengine's sampler deals images out in turn: rank r of W gets those at positions r, r + W, ... of one order, which
    it lengthens by repeated images until the ranks have equally many. An image after the first n / W is a repetition.
    """
    size = len(dataloader.dataset)  # type: ignore[arg-type]
    rank, world_size = get_dist_info()
    if not size:
        raise ValueError(_EMPTY)
    if size < world_size:
        raise ValueError(f'{world_size} processes cannot share {size} images: start at most {size}')
    if world_size > 1 and not isinstance(dataloader.sampler, DefaultSampler):
        raise ValueError(
            f'several processes need {_SAMPLER} in test_dataloader, got {type(dataloader.sampler).__name__}: it may '
            f'give an image to two of them'
        )
    return -((rank - size) // world_size)


def describe_data(dataset: Dataset) -> str:
    """A data set's class, split and list, without folders, such as 'CityscapesDataset val val-left.txt'."""
    folder = getattr(dataset, 'data_prefix', {}).get('img_path') or ''
    split = getattr(dataset, 'split', '') or Path(folder).name
    listed = Path(getattr(dataset, 'ann_file', '') or '').name
    return ' '.join(str(part) for part in (type(dataset).__name__, split, listed) if part)
