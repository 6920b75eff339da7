"""The loop that gives every point of Fig. 4 and 6 in one pass over the runner's test data."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, barrier, broadcast_object_list, get_dist_info, is_main_process
from mmengine.runner import BaseLoop, Runner
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import DataLoader

from mmposenc.channels.sweep_plan import SweepPlan, known_activation
from mmposenc.channels.sweep_result import Sweep, SweepFolder, read_conditions, sweep_conditions
from mmposenc.layers import check_layer, eager_forwards, pooled_forward, unwrap_model
from mmposenc.mm.forwards import require_whole_images
from mmposenc.mm.hooks.channel_ablation import ChannelAblationHook
from mmposenc.mm.loops.rank import build_loader, describe_data, every_second, loader_of
from mmposenc.mm.loops.sweep_counts import ClassificationCounts, SegmentationCounts
from mmposenc.ranking import Ranking, file_sha256, model_fingerprint
from mmposenc.regions import MeanIoU
from mmposenc.registry import LOOPS
from mmposenc.version import __version__


@LOOPS.register_module()
class AblationSweepLoop(BaseLoop):
    """Sweeps N, rankings, windows, random orders, layers and regions over the test data (Sec. 4.2.2, Fig. 4 and 6).

    Any segmentor of mmseg (figures: mIoU, aAcc and IoU by region) or classifier of mmpretrain (Top-1 and Cons.N). The
    batches are those of consecutive images, dealt out to the processes, and the same after an interruption; a repeated
    call resumes where the last one ended. The result is a `Sweep` in a folder.

    Args:
        runner: The runner.
        dataloader: Data loader, or its config; its sampler is not used.
        evaluator: Not used: a Runner gives it to any test loop.
        rankings: Files of rankings; each is called by its file's name without the suffix, or by its key in a dict.
        num_channels: The N of the top-N variants.
        window: Size of the windows; 0 for none.
        num_random: Number of random orders.
        num_matched: Number of random orders of the same mean activation as each ranking; each needs its own. The mean
            activation comes from a 'mean_activation' ranking of the layer, or is measured first.
        layers: Where channels are ablated. Default: the layers of the rankings.
        out: Folder of the result. Default: `sweep` in the work directory.
        level: 'auto', '1', '2' or '3': how much the variants share; see `SegmentationCounts`.
        memory_budget: MiB for what is held of several variants at once.
        regions: As `mmposenc.regions.RegionStrips` accepts them.
        ignore_index: Label of pixels that are not counted.
        max_shift: N of a classifier's Cons.N, px; 0 leaves it out.
        split: 'all' images, or every second one, 'even' or 'odd': those that the rankings were not made from.
        allow_other_weights: Accept rankings of other weights.
        allow_slide: Accept a model that is tested by sliding windows.

    Attributes:
        sweep: The `Sweep`, on the main process, once the loop has run.

    Raises:
        ValueError: If an argument is not one of those above, the model is tested by sliding windows, a ranking does not
            fit it, or the folder holds another sweep.

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
        if split not in ('all', 'even', 'odd'):
            raise ValueError(f'split must be one of all, even, odd, got {split!r}')
        self.model = unwrap_model(runner.model)
        require_whole_images(runner.model, allow_slide)
        self._num_matched = num_matched
        self.plan = SweepPlan(load_rankings(rankings), layers, num_channels, window, num_random)
        super().__init__(runner, build_loader(dataloader))
        self.dataloader: DataLoader
        if split != 'all':
            self.dataloader = every_second(self.dataloader, split)
        data_set = self.dataloader.dataset
        self.num_images = len(data_set)  # type: ignore[arg-type]
        if not self.num_images:
            raise ValueError('the data set or the subset is empty, so there is nothing to sweep: check its ann_file')
        self.out = Path(runner.work_dir, 'sweep') if out is None else Path(out)
        self.level, self.memory, self.max_shift, self.split = str(level), float(memory_budget), max_shift, split
        self.allow_other_weights, self.allow_slide = allow_other_weights, allow_slide
        self.metric: MeanIoU | None = None
        if hasattr(self.model, 'decode_head'):
            classes = (getattr(getattr(data_set, 'dataset', data_set), 'metainfo', None) or {}).get('classes')
            if not classes:
                raise ValueError('the data set names no classes: give it metainfo=dict(classes=...)')
            self.metric = MeanIoU(classes, regions, ignore_index)
        elif regions is not None:
            raise ValueError('regions are of segmentations, and the model is a classifier: leave them out')
        # A layer or a level that does not fit is refused before a pass over the data.
        self.task = self._task(lambda line: None)
        self.sweep: Sweep | None = None

    def _task(self, say: Callable[[str], None]) -> SegmentationCounts | ClassificationCounts:
        if self.metric is not None:
            return SegmentationCounts(
                self.model, self.plan, self.metric, self.level, self.memory, self.allow_slide, say=say
            )
        return ClassificationCounts(
            self.model, self.plan, self.num_images, self.max_shift, self.level, self.memory, say=say
        )

    def run(self) -> dict[str, float]:
        """Sweep, write the files, and return the figures of the whole network."""
        if any(isinstance(hook, ChannelAblationHook) for hook in self.runner.hooks):
            raise ValueError('a sweep ablates channels itself: take ChannelAblationHook out of custom_hooks')
        for ranking in self.plan.rankings.values():
            ranking.check_model(self.model, self.allow_other_weights)
        self.model.eval()
        if self._num_matched:
            matched = dict(num_matched=self._num_matched, activation=self._activation())
            self.plan = SweepPlan.from_document({**self.plan.document(), **matched})
        else:
            self.runner.logger.info(
                'sweep: rankings are compared with random orders only; --matched 39 (num_matched) also compares each '
                'with orders of the same mean activation, which tells position from mere strength'
            )
        # Heads hold products of the weights, and the runner loads those after it has built the loop.
        self.task = self._task(self.runner.logger.info)
        about = self._about()
        folder = SweepFolder(self.out, sweep_conditions(self.plan, self.task.metric, about))
        barrier()  # Nothing is written before every process has checked what is there.
        finished = [folder.open() if is_main_process() else set()]
        broadcast_object_list(finished)
        batches = self._own([batch for batch in self._batches() if not finished[0].issuperset(batch)])
        self.dataloader = loader_of(batches, self.dataloader)
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        with eager_forwards(), _same_kernels():
            for idx, batch in enumerate(_loaded(self.dataloader)):
                self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=batch)
                data = self._preprocessed(batch)
                for layer in self.plan.layers if idx == 0 else ():
                    check_layer(self.model, layer, data['inputs'][:1], self._forward(data))
                folder.add(batches[idx], self.task.count(data, batches[idx]))
                self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=batch, outputs=[])
        folder.flush()
        barrier()
        figures = [self._finish(folder, about) if is_main_process() else {}]
        broadcast_object_list(figures)
        self.runner.call_hook('after_test_epoch', metrics=figures[0])
        self.runner.call_hook('after_test')
        return figures[0]

    def _finish(self, folder: SweepFolder, about: dict[str, Any]) -> dict[str, float]:
        self.sweep = Sweep(self.plan, folder.merge(self.num_images), self.task.metric, about)
        self.sweep.save(self.out)
        folder.close()
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

    def _batches(self) -> list[list[int]]:
        """All batches of consecutive images."""
        size = self.dataloader.batch_size or 1
        return [list(range(i, min(i + size, self.num_images))) for i in range(0, self.num_images, size)]

    @staticmethod
    def _own(batches: list[list[int]]) -> list[list[int]]:
        rank, world_size = get_dist_info()
        return batches[rank::world_size]

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
        found = known_activation(self.plan)
        kept = [read_conditions(self.out) if is_main_process() else None]
        broadcast_object_list(kept)
        earlier = (kept[0] or {}).get('plan', {}).get('activation', {})
        found |= {layer: earlier[layer] for layer in self.plan.layers if layer not in found and layer in earlier}
        missing = [layer for layer in self.plan.layers if layer not in found]
        if missing:
            self.runner.logger.info(
                f'sweep: a pass over the images measures the mean activation at {", ".join(missing)}'
            )
            sums: list[tuple[int, dict[str, Tensor]]] = []
            own = self._own(self._batches())
            for positions, batch in zip(own, _loaded(loader_of(own, self.dataloader)), strict=True):
                data = self._preprocessed(batch)
                pooled = {}
                for layer in missing:
                    with pooled_forward(self.model, layer, self._forward(data)) as pool:
                        pooled[layer] = pool(data['inputs']).double().cpu().sum(0)
                        if pooled[layer].shape != (self.plan.total,):
                            raise ValueError(
                                f'layer {layer!r} has {len(pooled[layer])} channels, but the channels were chosen '
                                f'among {self.plan.total}: the rankings are of another model or layer'
                            )
                sums.append((positions[0], pooled))
            # In the order of the batches: the sum is the same for any number of processes.
            parts = sorted((part for share in all_gather_object(sums) for part in share), key=lambda part: part[0])
            for layer in missing:
                total = torch.stack([pooled[layer] for _, pooled in parts]).sum(0)
                found[layer] = (total / self.num_images).tolist()
        return found

    def _about(self) -> dict[str, Any]:
        """What the counts depend on besides plan and metric; a sweep may resume with other memory and processes."""
        checkpoint = self.runner._load_from
        cfg = self.runner.cfg
        loader = cfg.get('test_dataloader') or {}
        first = [_first_batch(self.dataloader, self._batches()[0]) if is_main_process() else '']
        broadcast_object_list(first)
        return dict(
            versions=dict(mmposenc=__version__, torch=str(torch.__version__)),
            model=self.runner.model_name,
            model_sha256=model_fingerprint(self.model),
            model_config_sha256=_digest([cfg.get('model'), cfg.get('data_preprocessor')]),
            checkpoint_sha256=file_sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else '',
            data_set=describe_data(getattr(self.dataloader.dataset, 'dataset', self.dataloader.dataset)),
            data_config_sha256=_digest(loader.get('dataset') if isinstance(loader, Mapping) else None),
            first_batch_sha256=first[0],
            split=self.split,
            num_images=self.num_images,
            batch_size=self.dataloader.batch_size or 1,
            level=self.level,
        )


def load_rankings(rankings: Sequence[str] | Mapping[str, str]) -> dict[str, Ranking]:
    """Rankings by name: the key of a dict, or the name of the file without its suffix.

    Raises:
        TypeError, ValueError: If they are not a list or dict, or two files have one name.
    """
    if isinstance(rankings, str):
        raise TypeError(f'rankings must be a list of files, got the str {rankings!r}: write [{rankings!r}]')
    named = dict(rankings) if isinstance(rankings, Mapping) else {Path(path).stem: path for path in rankings}
    if len(named) < len(rankings):
        raise ValueError(f'rankings are called by the names of their files, which must differ, got {list(rankings)}')
    if odd := [name for name in named if not isinstance(name, str) or not name.isprintable()]:
        raise ValueError(f'the name of a ranking must be text of one line, got {odd[0]!r}: rename the file')
    return {name: Ranking.load(path) for name, path in named.items()}


def summarise(sweep: Sweep) -> list[str]:
    """What a sweep found, in lines for the log: harm against chance, and the double dissociation of Fig. 6."""
    lines = []
    for row in sweep.claims():
        if row['region'] == 'overall':
            nulls = [
                f'{name} orders {row[key]:.2f} (p = {row[f"{key}_p"]:.3g})'
                for key, name in (('random', 'random'), ('matched', 'equally strong random'))
                if key in row
            ]
            lines.append(f'{row["ranking"]} at {row["layer"]}: mean harm {row["harm"]:.2f} points; ' + ', '.join(nulls))
    for row in sweep.dissociations():
        if row['region'] == 'left':
            lines.append(
                f'double dissociation of left and right at {row["layer"]}: {row["difference"]:.2f} points '
                f'(p = {row["p"]:.3g})'
            )
    return lines or ['no test against chance: it needs at least 19 random orders']


def _loaded(loader: DataLoader) -> Iterator[dict]:
    """The batches of a loader, each of images of one size."""
    one_size = (
        'images of one batch must have one size, got {}: set test_dataloader.batch_size=1 or resize the images in the '
        'test pipeline'
    )
    try:
        for batch in loader:
            inputs = batch['inputs']
            if not all(isinstance(image, Tensor) for image in inputs):
                raise ValueError('a sweep takes each image once: use a test pipeline without test-time augmentation')
            sizes = sorted({tuple(image.shape[-2:]) for image in inputs})
            if len(sizes) > 1:
                raise ValueError(one_size.format(sizes))
            yield batch
    except RuntimeError as error:
        # PyTorch's default_collate, which mmpretrain's own tools fill in.
        if 'stack expects each tensor to be equal size' in str(error):
            raise ValueError(one_size.format(str(error).partition('got ')[2])) from error
        raise


def _first_batch(loader: DataLoader, positions: list[int]) -> str:
    """SHA-256 of images and labels as the data set gives them."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f'{value.dtype} {tuple(value.shape)}'.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, (BaseDataElement, Mapping)):
            for key, item in sorted(value.items()):
                digest.update(key.encode())
                add(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)

    for batch in _loaded(loader_of([positions], loader)):
        add(batch)
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
