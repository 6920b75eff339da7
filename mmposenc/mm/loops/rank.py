"""The loop that ranks a network's channels over the runner's test data."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.dist import get_dist_info, is_main_process
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from mmposenc.channels import collect_sums
from mmposenc.channels.pairs import check_pairs
from mmposenc.channels.rank import check_reference, make_ranking
from mmposenc.layers import find_module
from mmposenc.mm.forwards import tensor_forward
from mmposenc.mm.loops.base import ChannelLoop, describe_data
from mmposenc.ranking import Ranking
from mmposenc.registry import LOOPS


@LOOPS.register_module()
class ChannelRankingLoop(ChannelLoop):
    """Ranks the channels of a layer over the test data set, in place of a test (Sec. 4.2.1, Eq. 2 and 3).

    Any model of mmseg or mmpretrain, with its own test pipeline and data preprocessor. Several pairs and statistics
    take one pass. Images are flipped or rolled before the preprocessor pads them. Whole images are compared, also with
    `allow_slide`. `rankings` holds the result by file once the loop has run.

    Args:
        dataloader, evaluator: As a Runner gives them to a test loop; the sampler and the evaluator are not used.
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        pairs, statistics: Names out of `mmposenc.channels.PAIRS` and `STATISTICS`. Default: Eq. 2's.
        out: The ranking's file, default `ranking.json` in the work directory. Of several rankings each has pair and
            statistic in its name: `ranking-flip_image-abs.json`.
        region: Where the objects of the images are, for the reader: 'overall', 'left', ...
        reference: For 'centred', the file of the 'signed' ranking of the whole data set by the same pair.
        rank_split: 'all' images, or those at 'even' or 'odd' positions of the data set; a sweep can use the others.
        region_list: File of the names of the images, as `mmposenc region-lists` writes it. Default: all images.
        max_images: Only the first ones, before they are split.
        allow_slide: Accept a model that is tested by sliding windows.
        channel_dim, prefix_tokens: As in `mmposenc.rank_channels`.

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
        rank_split: str = 'all',
        region_list: str | None = None,
        max_images: int | None = None,
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
        find_module(runner.model, layer)
        super().__init__(runner, dataloader, rank_split, allow_slide, region_list, max_images)
        self.layer, self.pairs, self.region = layer, tuple(pairs), region
        self.layout: dict[str, Any] = dict(channel_dim=channel_dim, prefix_tokens=prefix_tokens)
        self.out = Path(runner.work_dir, 'ranking.json') if out is None else Path(out)
        self.described = describe_data(self.data_set)
        if region_list is not None:
            self.described += f' {Path(region_list).name}'
        if rank_split != 'all':
            self.described += f', {rank_split} images'
        self.rankings: dict[Path, Ranking] = {}

    def run(self) -> dict[str, float]:
        """Rank, write the files, and return the number of images and of channels, and each ranking's reliability."""
        rank, world_size = get_dist_info()
        if self.num_images < world_size:
            raise ValueError(f'{world_size} processes cannot share {self.num_images} images: start fewer')
        own = range(rank, self.num_images, world_size)
        return self.test(list(BatchSampler(own, self.batch_size, drop_last=False)), self._measure)

    def _measure(self, batches: Iterator[dict]) -> dict[str, float]:
        current: dict[str, Any] = {}
        # What transforms compose of a batch, such as a grid of patches, is the image that is mirrored or rolled.
        composed = bool(getattr(self.model.data_preprocessor, 'test_transforms', ()))

        def images() -> Iterator[tuple[list[Tensor], None]]:
            for batch in batches:
                if composed:
                    batch = self.model.data_preprocessor(batch, False)
                current.update(batch)
                yield [image.float() for image in batch['inputs']], None

        def forward(images: Tensor) -> object:
            if composed:
                return self.model(images, current['data_samples'][: len(images)], mode='tensor')
            return tensor_forward(self.model, current)(images)

        about = dict(layer=self.layer, region=self.region, data_set=self.described, **self.describe_model())
        for pair, (statistic, reference) in product(self.pairs, self.references.items()):
            check_reference(statistic, reference, pair, self.layer, about['model_sha256'])
        sums = collect_sums(self.model, images(), self.layer, self.pairs, forward, **self.layout)
        several = len(self.pairs) * len(self.references) > 1
        for pair, (statistic, reference) in product(self.pairs, self.references.items()):
            if statistic == 'mean_activation' and pair != self.pairs[0]:
                continue  # it compares no pair
            name = f'{self.out.stem}-{pair}-{statistic}{self.out.suffix}' if several else self.out.name
            ranking = make_ranking(sums[pair], statistic, reference, pair=pair, **about)
            self.rankings[self.out.with_name(name)] = ranking
        metrics = {'images': float(self.num_images), 'channels': float(sums[self.pairs[0]].num_channels)}
        for path, ranking in self.rankings.items():
            if is_main_process():
                ranking.save(path)
            if ranking.reliability is not None:
                metrics[f'reliability/{ranking.pair}-{ranking.statistic}'] = ranking.reliability
        self.runner.visualizer.add_scalars({f'rank/{name}': value for name, value in metrics.items()})
        return metrics
