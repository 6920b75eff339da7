"""Segmentation figures by image region, for any mmseg config."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_dist_info
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from prettytable import PrettyTable

from mmposenc.regions import RegionStrips, confusion_margins, count_strips, margin_figures
from mmposenc.registry import METRICS

FIGURES = {'mIoU': ('aAcc', 'mIoU', 'mAcc'), 'mDice': ('aAcc', 'mDice', 'mAcc')}


@METRICS.register_module()
class RegionIoUMetric(BaseMetric):
    """mIoU, aAcc, mAcc and mDice of left, center, right and overall from one count (Sec. 4.2.2, Fig. 4 and 6).

    Replaces mmseg's `IoUMetric`: `overall` has its figures, and each region those it has on the cropped arrays. Figures
    are in percent, not rounded: `left/mIoU`, `overall/aAcc`, ..., and with `classwise` `left/IoU/car`, NaN if neither
    label nor prediction holds the class. A table with the IoU of each class and region is logged.

    Images that mmengine's sampler repeats to give all ranks the same number are left out; if another sampler repeats
    images, that is an error. So is a label or prediction outside the classes, which mmseg's metric counts in the union.

    Args:
        regions: Names and boxes (x0, y0, x1, y1) in fractions of width and height, see `RegionStrips`.
        ignore_index, prefix: As in mmseg.
        iou_metrics: 'mIoU', 'mDice' or both, as in mmseg.
        classwise: Return the figures of each class too.
    """

    default_prefix = ''  # With None, mmengine warns.

    def __init__(
        self,
        regions: Mapping[str, Sequence[float]] | None = None,
        ignore_index: int = 255,
        iou_metrics: str | Sequence[str] = ('mIoU', 'mDice'),
        classwise: bool = False,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        self.strips = RegionStrips(regions)
        self.ignore_index, self.classwise = ignore_index, classwise
        self.iou_metrics = [iou_metrics] if isinstance(iou_metrics, str) else list(iou_metrics)
        if not self.iou_metrics or not FIGURES.keys() >= set(self.iou_metrics):
            raise ValueError(f'iou_metrics must be among {", ".join(FIGURES)}, got {iou_metrics!r:.60}')
        self._reset()

    def _reset(self) -> None:
        self._images = 0
        # Of the last image too, which may be a repeated one (see `evaluate`).
        self._sums = self._last = torch.tensor(0)

    @property
    def classes(self) -> Sequence[str]:
        if not self.dataset_meta or not self.dataset_meta.get('classes'):
            raise ValueError("RegionIoUMetric needs dataset_meta['classes']; give the data set metainfo with classes")
        return self.dataset_meta['classes']

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            if 'gt_sem_seg' not in sample:
                advice = "without labels use mmseg's IoUMetric with format_only=True"
                raise ValueError(f'RegionIoUMetric: a sample has no gt_sem_seg; {advice}')
            labels, prediction = (sample[key]['data'].squeeze(0) for key in ('gt_sem_seg', 'pred_sem_seg'))
            counts = count_strips(labels, prediction, len(self.classes), self.strips, self.ignore_index)
            self._last = confusion_margins(counts)
            self._sums = self._sums + self._last
            self._images += 1

    def evaluate(self, size: int) -> dict[str, float]:
        """Figures of the counts of all ranks, for a data set of `size` images."""
        # Rank r of W holds images r, r + W, ...: one image more is the sampler's padding, and the rank's last.
        rank, world_size = get_dist_info()
        padded = self._images == -((rank - size) // world_size) + 1
        # A rank without images has nothing of this shape.
        nothing = torch.zeros(len(self.strips), 3, len(self.classes), dtype=torch.int64)
        sums = torch.stack([nothing + counts.cpu() for counts in (self._sums, self._last * padded)])
        total = torch.cat([sums.flatten(), torch.tensor([self._images, padded])])
        self._reset()
        all_reduce(total)
        images, padded = total[-2:].tolist()
        sums, repeated = total[:-2].view(2, *nothing.shape)
        if images > size:
            sums, images = sums - repeated, images - padded
        if not images or images > size:
            advice = "use sampler=dict(type='DefaultSampler', shuffle=False)"
            raise ValueError(f'{images} images were evaluated of a data set of {size}; {advice}')
        if images < size:
            print_log(f'Only {images} of {size} images were evaluated.', logger='current', level=logging.WARNING)
        figures = self.compute_metrics([sums])
        return {f'{self.prefix}/{key}': value for key, value in figures.items()} if self.prefix else figures

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Figures of the sum of some margins, by key, in percent."""
        table = PrettyTable()
        table.add_column('IoU', [*self.classes, 'mean'])
        metrics = {}
        for name, margins in self.strips.sum_regions(sum(results)).items():
            values = margin_figures(margins)
            table.add_column(name, [f'{value:.2f}' for value in [*values['IoU'].tolist(), float(values['mIoU'])]])
            for key in dict.fromkeys(key for metric in self.iou_metrics for key in FIGURES[metric]):
                metrics[f'{name}/{key}'] = float(values[key])
            for key in ('Acc', *(metric[1:] for metric in self.iou_metrics)) if self.classwise else ():
                for label, value in zip(self.classes, values[key].tolist(), strict=True):
                    metrics[f'{name}/{key}/{label}'] = value
        print_log(f'IoU of each class and region (%):\n{table.get_string()}', logger='current')
        return metrics
