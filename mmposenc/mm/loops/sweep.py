"""The loop that gives every point of Fig. 4 and 6 in one pass over the runner's test data."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, barrier, broadcast_object_list, get_dist_info, is_main_process
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from mmposenc.channels.sweep_plan import SweepPlan, known_activation
from mmposenc.channels.sweep_result import Sweep, SweepFolder, read_conditions
from mmposenc.layers import check_layer, eager_forwards, pooled_features
from mmposenc.mm.detection import detection_metric, is_detector
from mmposenc.mm.forwards import first_window
from mmposenc.mm.loops.base import ChannelLoop, describe_data
from mmposenc.mm.loops.sweep_counts import ClassificationCounts, DetectionCounts, SegmentationCounts
from mmposenc.ranking import Ranking
from mmposenc.regions import MeanIoU
from mmposenc.registry import LOOPS
from mmposenc.version import __version__


@LOOPS.register_module()
class AblationSweepLoop(ChannelLoop):
    """Sweeps N, rankings, windows, random orders, layers and regions over the test data (Sec. 4.2.2, Fig. 4 and 6).

    Any segmentor of mmseg (figures: mIoU, aAcc and IoU by region), classifier of mmpretrain (Top-1 and Cons.N) or
    detector of mmdet (COCO AP, AP50 and log-average miss rate). The batches hold consecutive images and are dealt out
    to the processes; a repeated call resumes where the last one ended. The `Sweep` goes into a folder;
    the main process also has it as `sweep`.

    Args:
        dataloader, evaluator: As a Runner gives them to a test loop; the sampler and the evaluator are not used.
        rankings: Files of rankings; each is called by its file's name without the suffix, or by its key in a dict.
        num_channels: The N of the top-N variants.
        window: Size of the windows; 0 for none.
        num_random: Number of random orders.
        num_matched: Number of random orders for each ranking that match its mean activation, which comes from a
            'mean_activation' ranking of the layer or is measured first.
        layers: Where channels are ablated. Default: the layers of the rankings.
        out: Folder of the result. Default: `sweep` in the work directory.
        level: 'auto', '1', '2' or '3': how much the variants share; see `SegmentationCounts`.
        memory_budget: MiB for what is held of several variants at once.
        regions, ignore_index: As in `mmposenc.RegionIoUMetric`.
        max_shift: N of a classifier's Cons.N, px; 0 leaves it out.
        split: 'all' images, or those at 'even' or 'odd' positions: those that the rankings were not made from.
        allow_other_weights, allow_slide: Accept rankings of other weights, and a model tested by sliding windows.

    Example:
        >>> test_cfg = dict(type='mmposenc.AblationSweepLoop', rankings=['ranking.json'], num_channels=[0, 100, 200])
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Any = None,
        *,
        rankings: Sequence[str] | Mapping[str, str],
        num_channels: Sequence[int] = (),
        window: int = 0,
        num_random: int = 39,
        num_matched: int = 0,
        layers: Sequence[str] | None = None,
        out: str | None = None,
        level: str | int = 'auto',
        memory_budget: float = 1024,
        regions: Mapping[str, Sequence[float]] | None = None,
        ignore_index: int = 255,
        max_shift: int = 8,
        split: str = 'all',
        allow_other_weights: bool = False,
        allow_slide: bool = False,
    ) -> None:
        if not 0 < memory_budget < float('inf'):
            raise ValueError(f'memory_budget must be above 0 MiB, got {memory_budget}')
        self._num_matched = num_matched
        self.plan = SweepPlan(load_rankings(rankings), layers, num_channels, window, num_random)
        super().__init__(runner, dataloader, split, allow_slide)
        self.batches: list[list[int]] = list(BatchSampler(range(self.num_images), self.batch_size, drop_last=False))
        rank, world_size = get_dist_info()
        self._share = slice(rank, None, world_size)  # of the batches
        self.out = Path(runner.work_dir, 'sweep') if out is None else Path(out)
        self.level, self.split, self.allow_other_weights = str(level), split, allow_other_weights
        whole: Any = self.dataloader.dataset
        counts: Any
        if hasattr(self.model, 'decode_head'):
            classes = (getattr(getattr(whole, 'dataset', whole), 'metainfo', None) or {}).get('classes')
            if not classes:
                raise ValueError('the data set names no classes: give it metainfo=dict(classes=...)')
            metric = MeanIoU(classes, regions, ignore_index)
            counts = partial(SegmentationCounts, metric=metric, allow_slide=allow_slide)
        elif regions is not None:
            raise ValueError('regions need a segmentation model: leave them out')
        elif is_detector(self.model):
            counts = partial(DetectionCounts, metric=detection_metric(self.model, self.data_set), data_set=whole)
        else:
            counts = partial(ClassificationCounts, num_images=len(whole), max_shift=max_shift)
        self._counts = partial(counts, self.model, level=self.level, memory=float(memory_budget))
        # A layer or a level that does not fit is refused before a pass over the data.
        self._counts(self.plan, say=lambda line: None)
        self.sweep: Sweep | None = None

    def run(self) -> dict[str, float]:
        """Sweep, write the files, and return the figures of the whole network."""
        self.model.eval()
        for ranking in self.plan.rankings.values():
            ranking.check_model(self.model, self.allow_other_weights)
        if self._num_matched:
            matched = dict(num_matched=self._num_matched, activation=self._activation())
            self.plan = SweepPlan.from_document({**self.plan.document(), **matched})
        else:
            self.runner.logger.info(
                'sweep: rankings are compared with random orders only; --matched 39 (num_matched) adds orders of the '
                'same mean activation, which tells position from mere strength'
            )
        # Again, since heads hold products of the weights, which the runner loads after it has built the loop.
        counts = self._counts(self.plan, say=self.runner.logger.info)
        folder = SweepFolder(self.out, self.plan, counts.metric, self._about())
        barrier()  # Nothing is written before every process has checked what is there.
        finished = _from_main(folder.open)
        own = [batch for batch in self.batches if not finished.issuperset(batch)][self._share]

        def measure(batches: Iterator[dict]) -> dict[str, float]:
            with eager_forwards(), _same_kernels():
                for idx, (positions, batch) in enumerate(zip(own, batches, strict=True)):
                    data = self._preprocessed(batch)
                    for layer in self.plan.layers if idx == 0 else ():
                        check_layer(self.model, layer, first_window(self.model, data['inputs']), self._forward(data))
                    folder.add(positions, counts.count(data, [self.positions[place] for place in positions]))
            folder.flush()
            barrier()
            return _from_main(lambda: self._finish(folder))

        return self.test(own, measure)

    def _finish(self, folder: SweepFolder) -> dict[str, float]:
        self.sweep = folder.finish(self.num_images)
        for line in summarise(self.sweep):
            self.runner.logger.info(line)
        figures = self.sweep.summary()
        self.runner.visualizer.add_scalars({f'sweep/{name}': value for name, value in figures.items()})
        for curve in self.sweep.curves():
            if curve.kind == 'top' and curve.draws is None:
                # MLflow accepts no brackets.
                name = re.sub(r'[^\w\-. /]', '_', f'sweep/{curve.layer}/{curve.ranking}/{curve.metric}')
                for size, value in zip(curve.sizes, curve.values.tolist(), strict=True):
                    self.runner.visualizer.add_scalar(name, value, step=size)
        return figures

    def _forward(self, data: dict) -> Callable[[Tensor], object]:
        """The whole network, from preprocessed images to scores."""
        return lambda images: self.model(images, data['data_samples'][: len(images)], mode='tensor')

    def _preprocessed(self, batch: dict) -> dict:
        data = self.model.data_preprocessor(batch, False)
        if not data.get('data_samples'):
            raise ValueError('a sweep needs labelled samples, but the batches have no data_samples')
        return data

    @torch.no_grad()
    def _activation(self) -> dict[str, Sequence[float]]:
        """Mean activation of the channels of each layer: known, kept by an earlier run, or measured now."""
        kept = _from_main(lambda: read_conditions(self.out)) or {}
        found = {**kept.get('plan', {}).get('activation', {}), **known_activation(self.plan)}
        missing = [layer for layer in self.plan.layers if layer not in found]
        if not missing:
            return found
        self.runner.logger.info(f'sweep: a pass over the images measures the mean activation at {", ".join(missing)}')
        sums: list[tuple[int, Tensor]] = []
        own = self.batches[self._share]
        for positions, batch in zip(own, self.read(own), strict=True):
            data, pooled = self._preprocessed(batch), []
            for layer in missing:
                features = pooled_features(self.model, layer, data['inputs'], self._forward(data))
                pooled.append(features.double().cpu().sum(0))
                if len(pooled[-1]) != self.plan.total:
                    got = f'{len(pooled[-1])} channels, but the channels were chosen among {self.plan.total}'
                    raise ValueError(f'layer {layer!r} has {got}: the rankings are of another model or layer')
            sums.append((positions[0], torch.stack(pooled)))
        # In the order of the batches: the sum is the same for any number of processes.
        parts = dict(part for share in all_gather_object(sums) for part in share)
        means = torch.stack([parts[first] for first in sorted(parts)]).sum(0) / self.num_images
        return found | dict(zip(missing, means.tolist(), strict=True))

    def _about(self) -> dict[str, Any]:
        """What the counts depend on besides plan and metric; a sweep may resume with other memory and processes."""
        cfg = self.runner.cfg
        loader = cfg.get('test_dataloader')
        return dict(
            versions=dict(mmposenc=__version__, torch=str(torch.__version__)),
            **self.describe_model(),
            model_config_sha256=_digest([cfg.get('model'), cfg.get('data_preprocessor')]),
            data_set=describe_data(self.data_set),
            data_config_sha256=_digest(loader.get('dataset') if isinstance(loader, Mapping) else None),
            first_batch_sha256=_from_main(lambda: _tensor_digest(self.read(self.batches[:1]))),
            split=self.split,
            num_images=self.num_images,
            batch_size=self.batch_size,
            level=self.level,
        )


def load_rankings(rankings: Sequence[str] | Mapping[str, str]) -> dict[str, Ranking]:
    """Rankings by name: the key of a dict, or the name of the file without its suffix."""
    if isinstance(rankings, str):
        raise TypeError(f'rankings must be a list of files, got the str {rankings!r}: write [{rankings!r}]')
    named = dict(rankings) if isinstance(rankings, Mapping) else {Path(path).stem: path for path in rankings}
    if len(named) < len(rankings) or not all(isinstance(name, str) and name.isprintable() for name in named):
        rule = 'rankings are called by their file names, which must differ and be of one line'
        raise ValueError(f'{rule}, got {list(named)}')
    return {name: Ranking.load(path) for name, path in named.items()}


def summarise(sweep: Sweep) -> list[str]:
    """What a sweep found, in lines for the log: harm against chance, and the double dissociation of Fig. 6."""
    lines = []
    for row in sweep.claims():
        if row['region'] == 'overall':
            text = f'{row["ranking"]} at {row["layer"]}: mean harm {row["harm"]:.2f} points'
            for null, name in (('random', '; random'), ('matched', ', equally strong random')):
                if null in row:
                    text += f'{name} orders {row[null]:.2f} (p = {row[f"{null}_p"]:.3g})'
            lines.append(text)
    for row in sweep.dissociations():
        if row['region'] == 'left':
            found = f'{row["difference"]:.2f} points (p = {row["p"]:.3g})'
            lines.append(f'double dissociation of left and right at {row["layer"]}: {found}')
    return lines or ['no test against chance: it needs at least 19 random orders']


def _from_main(function: Callable[[], Any]) -> Any:
    """What a function gives on the main process, for all of them."""
    given = [function() if is_main_process() else None]
    broadcast_object_list(given)
    return given[0]


def _tensor_digest(value: Any) -> str:
    """SHA-256 of all tensors in nested data, and of the names that they have there."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f'{value.dtype} {tuple(value.shape)}'.encode())
            # A copy, since one value that is expanded counts as contiguous whatever its stride.
            plain = value.detach().cpu().clone(memory_format=torch.contiguous_format).flatten()
            digest.update(plain.view(torch.uint8).numpy().data)
        elif isinstance(value, (BaseDataElement, Mapping)):
            for key, item in sorted(value.items()):
                digest.update(key.encode())
                add(item)
        elif isinstance(value, (list, tuple, Iterator)):
            for item in value:
                add(item)

    add(value)
    return digest.hexdigest()


def _digest(config: Any) -> str:
    """SHA-256 of a config; functions and classes count by their names."""
    text = json.dumps(config, sort_keys=True, default=lambda value: getattr(value, '__qualname__', str(type(value))))
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _same_kernels() -> Iterator[None]:
    """Let cuDNN choose by size alone, not by timing: an interrupted sweep must end with the same counts."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
