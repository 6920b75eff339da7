"""What a sweep counts of a segmentation network."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmposenc.channels.all_branches_sweep import AllBranchesSweep
from mmposenc.channels.aspp_parts import ASPPRecord, record_aspp
from mmposenc.channels.pooled_branch_sweep import PooledBranchSweep
from mmposenc.channels.sweep import SweepPlan
from mmposenc.mm.sweep.forwards import run_forwards
from mmposenc.mm.sweep.levels import POOLED_LAYER, SweepLevel
from mmposenc.mm.sweep.random_control_table import random_control_table
from mmposenc.mm.sweep.region_attack_table import region_attack_table
from mmposenc.regions.iou import confusion_margins, margin_figures
from mmposenc.regions.strips import RegionStrips, count_strips

Table = tuple[list[str], list[list[Any]]]

# On a CPU more at once than its caches hold is slower; a GPU wants as much as there is.
CPU_CHUNK = 32 * 2**20


class SegmentationSweep:
    """Labelled and predicted pixels of each class, strip and run, image by image (Fig. 4 and 6).

    Args:
        model: A segmentor of mmseg, without wrappers, in evaluation mode.
        plan: What is swept.
        levels: By layer.
        classes: Names of the classes.
        regions: As `RegionStrips` takes them.
        ignore_index: Label of pixels that are not counted.
        memory_budget: MiB for what is held of several variants at once; one variant is held in any case.
    """

    def __init__(
        self,
        model: Any,
        plan: SweepPlan,
        levels: Mapping[str, SweepLevel],
        classes: Sequence[str],
        regions: Mapping[str, Sequence[float]] | None = None,
        ignore_index: int = 255,
        memory_budget: float = 1024,
    ) -> None:
        self.model, self.plan, self.levels, self.classes = model, plan, levels, list(classes)
        self.strips = RegionStrips(regions)
        self.ignore_index = ignore_index
        self.budget = memory_budget * 2**20
        self.third = plan.groups_at([layer for layer, chosen in levels.items() if chosen.level == 3])

    @property
    def conditions(self) -> dict[str, Any]:
        """What the counts depend on besides the plan."""
        return dict(
            classes=self.classes,
            regions=self.strips.regions,
            ignore_index=self.ignore_index,
            counts='images, runs, strips, (labelled, predicted, both), classes',
        )

    @torch.no_grad()
    def count(self, data: dict, positions: Sequence[int]) -> Tensor:
        """Count one batch: int32 (images, runs, strips, 3, classes).

        Args:
            data: What the data preprocessor gives.
            positions: Of the images in the data set; not needed here.
        """
        inputs, samples = data['inputs'], data['data_samples']
        counters = [self._counter(sample, inputs.device) for sample in samples]

        def forward() -> list[Tensor]:
            return [sample.pred_sem_seg.data for sample in self.model(inputs, samples, mode='predict')]

        def take(run: int, predictions: list[Tensor]) -> None:
            for counter, prediction in zip(counters, predictions, strict=True):
                counter.add([run], prediction)

        records: list[ASPPRecord] = []

        def recorded() -> list[Tensor]:
            with record_aspp(self.model.decode_head) as record:
                records.append(record)
                return forward()

        run_forwards(self.model, self.plan, self.levels, forward, take, recorded if self.third else None)
        for image, counter in enumerate(counters if self.third else ()):
            self._sweep_parts(records[0], image, samples[image], counter)
        return torch.stack([counter.total() for counter in counters])

    def _counter(self, sample: Any, device: torch.device) -> '_Counter':
        if 'gt_sem_seg' not in sample:
            raise ValueError(
                'a sweep needs label maps, but a sample has no gt_sem_seg: put LoadAnnotations into the test pipeline'
            )
        labels = sample.gt_sem_seg.data.squeeze(0).to(device)
        return _Counter(labels, self.plan.num_runs, len(self.classes), self.strips, self.ignore_index, self.budget / 4)

    def _sweep_parts(self, record: ASPPRecord, image: int, sample: Any, counter: '_Counter') -> None:
        head = self.model.decode_head
        channels = head.out_channels
        height, width = sample.metainfo.get('pad_shape', sample.metainfo['img_shape'])[:2]
        pixels = height * width * (8 * channels + 16)
        if (height, width) != tuple(sample.metainfo['ori_shape'][:2]):
            pixels += math.prod(sample.metainfo['ori_shape'][:2]) * (4 * channels + 12)
        budget = self.budget * 3 / 4
        if record.pooled[0].device.type == 'cpu':
            budget = min(budget, CPU_CHUNK)
        for layer in dict.fromkeys(group.layer for group in self.third):
            parts = (PooledBranchSweep if layer == POOLED_LAYER else AllBranchesSweep)(head, record, image)
            chunk = max(1, int(budget / (parts.variant_bytes + pixels)))
            for group in self.plan.groups_at([layer]):
                for places, logits in parts.logits(group.order, group.slices, chunk) if group.slices else ():
                    counter.add([group.runs[place] for place in places], self._predictions(logits, sample))

    def _predictions(self, logits: Tensor, sample: Any) -> Tensor:
        """Labels (n, H, W) of one image from logits of several variants, made as in the host's postprocess_result."""
        meta = sample.metainfo
        logits = self.model.decode_head.predict_by_feat(logits, [meta] * len(logits))
        if meta.get('flip') or logits.shape[1] == 1:
            copies = [sample.new(data={}) for _ in range(len(logits))]
            return torch.cat([copy.pred_sem_seg.data for copy in self.model.postprocess_result(logits, copies)])
        left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))
        height, width = logits.shape[-2:]
        logits = logits[..., top : height - bottom, left : width - right]
        size = tuple(meta['ori_shape'][:2])
        if size != tuple(logits.shape[-2:]):  # To the same size it would change nothing.
            logits = interpolate(logits, size, mode='bilinear', align_corners=self.model.align_corners)
        return logits.max(1).indices  # As the host's argmax, but on a CPU five times as fast.

    def tables(self, counts: Tensor) -> dict[str, Table]:
        """Head and rows of each file (Fig. 4 and 6).

        Args:
            counts: Of all images, (images, runs, strips, 3, classes).
        """
        regions = self.strips.sum_regions(counts)
        figures = {name: margin_figures(margins.sum(0, dtype=torch.int64)) for name, margins in regions.items()}
        head = ['region', 'mIoU', 'aAcc', *(f'IoU/{name}' for name in self.classes)]
        rows = []
        for variant in self.plan.variants:
            start = [variant.layer, variant.ranking, '' if variant.draw is None else variant.draw, variant.kind]
            start += [variant.start, variant.stop - variant.start]
            for name, values in figures.items():
                numbers = [values['mIoU'][variant.run], values['aAcc'][variant.run], *values['IoU'][variant.run]]
                rows.append([*start, name, *(f'{float(number):.6f}' for number in numbers)])
        verdicts = {
            'random_control.csv': random_control_table(self.plan, regions),
            'region_attack.csv': region_attack_table(self.plan, regions),
        }
        return {
            'sweep.csv': (['layer', 'ranking', 'draw', 'kind', 'start', 'num_channels', *head], rows),
            **{name: table for name, table in verdicts.items() if table[1]},
        }

    def summary(self, counts: Tensor) -> dict[str, float]:
        """The figures with no channel off, by region."""
        regions = self.strips.sum_regions(counts[:, 0].sum(0, dtype=torch.int64))
        return {f'{name}/mIoU': float(margin_figures(margins)['mIoU']) for name, margins in regions.items()}


class _Counter:
    """Counts of one image: predictions are kept as bytes until there are enough of them, then counted at once."""

    def __init__(
        self, labels: Tensor, num_runs: int, num_classes: int, strips: RegionStrips, ignore_index: int, budget: float
    ) -> None:
        self._arguments = (num_classes, strips, ignore_index)
        self._labels, self._budget = labels, budget
        self._kind = torch.uint8 if num_classes <= 256 else torch.int32
        self._runs: list[int] = []
        self._predictions: list[Tensor] = []
        self._counts = torch.zeros(num_runs, len(strips), 3, num_classes, dtype=torch.int32)

    def add(self, runs: list[int], predictions: Tensor) -> None:
        self._runs += runs
        self._predictions.append(predictions.to(self._kind))
        if sum(part.numel() * part.element_size() for part in self._predictions) >= self._budget:
            self._count()

    def total(self) -> Tensor:
        if self._runs:
            self._count()
        return self._counts

    def _count(self) -> None:
        counts = count_strips(self._labels, torch.cat(self._predictions), *self._arguments)
        self._counts[self._runs] = confusion_margins(counts).int().cpu()
        self._runs, self._predictions = [], []
