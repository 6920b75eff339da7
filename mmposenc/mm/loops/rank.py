"""The loop that ranks a network's channels over the runner's test data, and the data that it shares with the sweep."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.dataset import DefaultSampler
from mmengine.dist import get_dist_info, is_main_process
from mmengine.runner import BaseLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from mmposenc.channels import collect_sums
from mmposenc.channels.pairs import check_pairs
from mmposenc.channels.rank import check_reference, make_ranking
from mmposenc.layers import find_module, unwrap_model
from mmposenc.mm.forwards import require_whole_images, tensor_forward
from mmposenc.mm.hooks.channel_ablation import ChannelAblationHook
from mmposenc.ranking import Ranking, file_sha256, model_fingerprint
from mmposenc.registry import LOOPS

_EMPTY = 'the data set or the subset is empty: check its ann_file'
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
        channel_dim, prefix_tokens: As in `mmposenc.rank_channels`.

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
        self.references: dict[str, Ranking | None] = dict.fromkeys(statistics)
        if reference is not None:
            if 'centred' not in statistics:
                raise ValueError("reference, a 'signed' ranking of the whole data set, is for statistic 'centred' only")
            self.references['centred'] = Ranking.load(reference)
        for pair, statistic in product(pairs, statistics):
            check_reference(statistic, self.references[statistic], pair, layer)
        self.model = unwrap_model(runner.model)
        find_module(self.model, layer)
        require_whole_images(runner.model, allow_slide)
        super().__init__(runner, build_loader(dataloader, rank_split))
        self.layer, self.pairs, self.region = layer, tuple(pairs), region
        self.layout: dict[str, Any] = dict(channel_dim=channel_dim, prefix_tokens=prefix_tokens)
        self.out = Path(runner.work_dir, 'ranking.json') if out is None else Path(out)
        self.data_set = describe_data(self.dataloader.dataset) if data_set is None else data_set
        if rank_split != 'all':
            self.data_set += f', {rank_split} images'
        self.rankings: dict[Path, Ranking] = {}
        self._batch: dict = {}

    def run(self) -> dict[str, float]:
        """Rank, write the files, and return the number of images and of channels, and each ranking's reliability."""
        if any(isinstance(hook, ChannelAblationHook) for hook in self.runner.hooks):
            raise ValueError('a ranking is of the whole network: take ChannelAblationHook out of custom_hooks')
        share, size = share_of_rank(self.dataloader), len(self.dataloader.dataset)
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.model.eval()
        images = self._images(share)
        sums = collect_sums(self.model, images, self.layer, self.pairs, self._forward, **self.layout)
        first = sums[self.pairs[0]]
        if first.num_images != size:
            raise ValueError(
                f'{first.num_images} images were ranked of a data set of {size}: each must be seen once; use '
                f'drop_last=False and {_SAMPLER} in test_dataloader'
            )
        about = dict(layer=self.layer, region=self.region, data_set=self.data_set, **describe_model(self.runner))
        several = len(self.pairs) * len(self.references) > 1
        for pair, (statistic, reference) in product(self.pairs, self.references.items()):
            if statistic == 'mean_activation' and pair != self.pairs[0]:
                continue  # it compares no pair
            name = f'{self.out.stem}-{pair}-{statistic}{self.out.suffix}' if several else self.out.name
            ranking = make_ranking(sums[pair], statistic, reference, pair=pair, **about)
            self.rankings[self.out.with_name(name)] = ranking
        metrics = {'images': float(size), 'channels': float(first.num_channels)}
        for path, ranking in self.rankings.items():
            if is_main_process():
                ranking.save(path)
            if ranking.reliability is not None:
                metrics[f'reliability/{ranking.pair}-{ranking.statistic}'] = ranking.reliability
        self.runner.visualizer.add_scalars({f'rank/{name}': value for name, value in metrics.items()})
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def _images(self, share: int) -> Iterator[tuple[list[Tensor], None]]:
        """The first `share` images as the data loader gives them: the rest is a sampler's padding."""
        for idx, batch in enumerate(whole_batches(self.dataloader)):
            self._batch = batch
            self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=batch)
            inputs = batch['inputs'][: max(share, 0)]
            share -= len(inputs)
            if len(inputs):
                yield [image.float() for image in inputs], None
            self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=batch, outputs=[])

    def _forward(self, images: Tensor) -> object:
        return tensor_forward(self.model, self._batch)(images)


def build_loader(dataloader: DataLoader | dict, split: str = 'all') -> DataLoader:
    """The data loader, or one of its 'even' or 'odd' images in their order; built if it is not yet, and not empty."""
    if split not in ('all', 'even', 'odd'):
        raise ValueError(f'split must be one of all, even, odd, got {split!r}')
    try:
        loader = dataloader if isinstance(dataloader, DataLoader) else Runner.build_dataloader(dataloader)
    except ValueError as error:
        if 'need at least one array to concatenate' in str(error):  # mmengine's words for an empty data set.
            raise ValueError(_EMPTY) from error
        raise
    whole: Any = loader.dataset
    part = whole if split == 'all' else Subset(whole, range(split == 'odd', len(whole), 2))
    if not len(part):
        raise ValueError(_EMPTY)
    if part is whole:
        return loader
    return loader_like(loader, part, batch_size=loader.batch_size, sampler=DefaultSampler(part, shuffle=False))


def loader_like(like: DataLoader, dataset: Dataset, **batching: Any) -> DataLoader:
    """A loader of another data set or other batches, in everything else like the one given."""
    names = ('num_workers', 'collate_fn', 'pin_memory', 'worker_init_fn', 'prefetch_factor', 'multiprocessing_context')
    return DataLoader(dataset, **{name: getattr(like, name) for name in names}, **batching)


def whole_batches(dataloader: DataLoader) -> Iterator[dict]:
    """The batches of a loader, each of single images of one size."""
    one_size = (
        'images of one batch must have one size, got {}: set test_dataloader.batch_size=1 or resize the images in the '
        'test pipeline (padding would add positions of its own)'
    )
    try:
        for batch in dataloader:
            if not all(isinstance(image, Tensor) for image in batch['inputs']):
                raise ValueError('each image is taken once: use a test pipeline without test-time augmentation')
            sizes = {tuple(image.shape[-2:]) for image in batch['inputs']}
            if len(sizes) > 1:
                raise ValueError(one_size.format(sorted(sizes)))
            yield batch
    except RuntimeError as error:
        # PyTorch's default_collate, which mmpretrain's own tools fill in.
        if 'stack expects each tensor to be equal size' in str(error):
            raise ValueError(one_size.format(str(error).partition('got ')[2])) from error
        raise


def share_of_rank(dataloader: DataLoader) -> int:
    """Number of images that this process counts, the first that its loader gives.

    mmengine's sampler deals images out in turn: rank r of W gets those at positions r, r + W, ... of one order, which
    it lengthens by repeated images until the ranks have equally many. An image after the first n / W is a repetition.
    """
    size = len(dataloader.dataset)  # type: ignore[arg-type]
    rank, world_size = get_dist_info()
    if size < world_size:
        raise ValueError(f'{world_size} processes cannot share {size} images: start at most {size}')
    if world_size > 1 and not isinstance(dataloader.sampler, DefaultSampler):
        raise ValueError(
            f'several processes need {_SAMPLER} in test_dataloader, got {type(dataloader.sampler).__name__}: it may '
            f'give an image to two of them'
        )
    return -((rank - size) // world_size)


def describe_data(dataset: Any) -> str:
    """A data set's class, split and list, without folders, such as 'CityscapesDataset val val-left.txt'."""
    dataset = getattr(dataset, 'dataset', dataset)
    folder = getattr(dataset, 'data_prefix', {}).get('img_path') or ''
    split = getattr(dataset, 'split', '') or Path(folder).name
    listed = Path(getattr(dataset, 'ann_file', '') or '').name
    return ' '.join(str(part) for part in (type(dataset).__name__, split, listed) if part)


def describe_model(runner: Runner) -> dict[str, str]:
    """A runner's model by name, and the fingerprints of its weights and of the checkpoint that it loaded."""
    checkpoint = runner._load_from
    return dict(
        model=runner.model_name,
        model_sha256=model_fingerprint(unwrap_model(runner.model)),
        checkpoint_sha256=file_sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else '',
    )
