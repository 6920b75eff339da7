"""The loop that ranks a network's channels over the runner's test data."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.runner import BaseLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mmposenc.channels.pairs import check_pairs, pooled_pairs
from mmposenc.channels.sums import PairedSums, check_statistic
from mmposenc.layers import find_module
from mmposenc.mm.hookable_model import eager_forwards, inner_model, require_whole_images
from mmposenc.mm.hooks.channel_ablation import ChannelAblationHook
from mmposenc.mm.loops.data_share import build_loader, describe_data, share_of_rank
from mmposenc.ranking import Ranking, file_sha256, model_fingerprint
from mmposenc.registry import LOOPS


@LOOPS.register_module()
class ChannelRankingLoop(BaseLoop):
    """Ranks the channels of a layer over the test data set, in place of a test (Sec. 4.2.1, Eq. 2 and 3).

    Any model of mmseg or mmpretrain, with its own test pipeline and data preprocessor. Several pairs and statistics
    take one pass, and no forward goes further than the layer. Running sums stay on the device and are added up over
    the ranks once; images by which a sampler pads the ranks to equal length are left out. Whole images are compared,
    also with `allow_slide`.

    Args:
        runner: The runner.
        dataloader: Data loader, or its config.
        evaluator: Not used: a Runner gives it to any test loop, and a ranking needs no labels.
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        pairs: Names out of `mmposenc.channels.PAIRS`. Default: Eq. 2's.
        statistics: Names out of `mmposenc.channels.STATISTICS`. Default: Eq. 2's.
        out: The ranking's file, default `ranking.json` in the work directory. Of several rankings each has pair and
            statistic in its name: `ranking-flip_image-abs.json`.
        region: Where the objects of the images are, for the reader: 'overall', 'left', ...
        reference: For 'centred', the file of the 'signed' ranking of the whole data set by the same pair.
        data_set: What the images are, for the reader. Default: the data set's class, split and list.
        allow_slide: Take a model that is tested by sliding windows.

    Attributes:
        rankings: By file, once the loop has run.

    Raises:
        ValueError: If an argument is not one of those above, the layer does not exist, or the model is tested by
            sliding windows; when run, if there is no image, images of a batch differ in size, an activation is not a
            number, or images would be counted twice.

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
        allow_slide: bool = False,
    ) -> None:
        check_pairs(pairs)
        if isinstance(statistics, str) or not pairs or not statistics:
            raise ValueError(f'pairs and statistics must be lists of names, got {pairs!r} and {statistics!r}')
        for statistic in statistics:
            check_statistic(statistic, statistic == 'centred')
        if ('centred' in statistics) != (reference is not None):
            raise ValueError("reference, a 'signed' ranking of the whole data set, goes with statistic 'centred' only")
        self.model = inner_model(runner.model)
        find_module(self.model, layer)
        require_whole_images(runner.model, allow_slide)
        super().__init__(runner, build_loader(dataloader))
        self.layer, self.pairs, self.statistics, self.region = layer, tuple(pairs), tuple(statistics), region
        self.reference = None if reference is None else self._load_reference(reference)
        self.out = Path(runner.work_dir, 'ranking.json') if out is None else Path(out)
        self.data_set = describe_data(self.dataloader.dataset) if data_set is None else data_set
        self.rankings: dict[Path, Ranking] = {}

    def run(self) -> dict[str, float]:
        """Rank, write the files, and return the number of images and of channels."""
        if any(isinstance(hook, ChannelAblationHook) for hook in self.runner.hooks):
            raise ValueError('a ranking is of the whole network: take ChannelAblationHook out of custom_hooks')
        share = share_of_rank(self.dataloader)
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.model.eval()
        sums = self._add_up(share)
        self._write(sums)
        first = sums[self.pairs[0]]
        metrics = {'images': float(first.num_images), 'channels': float(first.num_channels)}
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def _add_up(self, share: int) -> dict[str, PairedSums]:
        sums: dict[str, PairedSums] = {}
        seen = 0
        with eager_forwards():
            try:
                for idx, batch in enumerate(self.dataloader):
                    seen += self._run_iter(idx, batch, share - seen, sums)
            except RuntimeError as error:
                # PyTorch's default_collate, which mmpretrain's own tools fill in.
                if 'stack expects each tensor to be equal size' in str(error):
                    raise ValueError(_different_sizes(str(error).partition('size, ')[2])) from error
                raise
        states = torch.stack([sums[pair].state for pair in self.pairs])
        all_reduce(states)
        for pair, state in zip(self.pairs, states, strict=True):
            sums[pair].state = state
        images, size = sums[self.pairs[0]].num_images, len(self.dataloader.dataset)
        if images != size:
            raise ValueError(
                f'{images} images were ranked of a data set of {size}: each must be seen once; use drop_last=False and '
                "sampler=dict(type='DefaultSampler', shuffle=False) in test_dataloader"
            )
        return sums

    @torch.no_grad()
    def _run_iter(self, idx: int, batch: dict, limit: int, sums: dict[str, PairedSums]) -> int:
        """Add up one batch, or the first `limit` of its images: the rest is a sampler's padding."""
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=batch)
        images = self._preprocessed(batch)
        for pair, members in pooled_pairs(self.model, self.layer, images, self.pairs, self._forward).items():
            first, second = (member[: max(limit, 0)] for member in members)
            sums.setdefault(pair, PairedSums(first.shape[1], first.device)).update(first, second)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=batch, outputs=[])
        return len(images)

    def _preprocessed(self, batch: dict) -> Tensor:
        inputs = batch['inputs']
        if not isinstance(inputs, Tensor):
            if not all(isinstance(image, Tensor) for image in inputs):
                raise ValueError('a ranking takes each image once: use a test pipeline without test-time augmentation')
            sizes = sorted({tuple(image.shape[-2:]) for image in inputs})
            if len(sizes) > 1:
                raise ValueError(_different_sizes(f'got {sizes}'))
        return self.model.data_preprocessor(batch, False)['inputs']

    def _forward(self, images: Tensor) -> object:
        return self.model(images, mode='tensor')

    def _write(self, sums: dict[str, PairedSums]) -> None:
        checkpoint = self.runner._load_from
        conditions = dict(
            layer=self.layer,
            region=self.region,
            num_images=sums[self.pairs[0]].num_images,
            model=self.runner.model_name,
            model_sha256=model_fingerprint(self.model),
            checkpoint_sha256=file_sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else '',
            data_set=self.data_set,
        )
        several = len(self.pairs) * len(self.statistics) > 1
        for pair, statistic in product(self.pairs, self.statistics):
            reference = self.reference.scores if self.reference is not None and statistic == 'centred' else None
            scores = sums[pair].scores(statistic, reference).tolist()
            name = f'{self.out.stem}-{pair}-{statistic}{self.out.suffix}' if several else self.out.name
            path = self.out.with_name(name)
            self.rankings[path] = Ranking(pair=pair, statistic=statistic, scores=scores, **conditions)
        if is_main_process():
            for path, ranking in self.rankings.items():
                ranking.save(path)

    def _load_reference(self, path: str) -> Ranking:
        reference = Ranking.load(path)
        if (reference.statistic, (reference.pair,), reference.layer) != ('signed', self.pairs, self.layer):
            raise ValueError(
                f"reference must be a 'signed' ranking by {' and '.join(self.pairs)} at {self.layer!r}, got "
                f'{reference.statistic!r} by {reference.pair!r} at {reference.layer!r}; rank one pair at a time'
            )
        return reference


def _different_sizes(got: str) -> str:
    return (
        f'images of one batch must have one size, {got}: set test_dataloader.batch_size=1 or resize the images in the '
        'test pipeline (padding would add positions of its own)'
    )
