"""IoU by region: margins of confusion counts, the figures that follow from them, and the metric of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmposenc.regions.strips import RegionStrips, count_strips


def confusion_margins(confusion: Tensor) -> Tensor:
    """Pixels of each class that are labelled, predicted, and both, (..., 3, K), of counts [label, prediction].

    They are all that IoU and accuracy need, and add up over images and strips like the counts.
    """
    return torch.stack([confusion.sum(-1), confusion.sum(-2), confusion.diagonal(dim1=-2, dim2=-1)], dim=-2)


def margin_figures(margins: Tensor) -> dict[str, Tensor]:
    """Segmentation figures as mmseg's `IoUMetric` defines them, and the mIoU that harm is computed from.

    `margins` (..., 3, K) are those of the whole data set, from `confusion_margins`, or weighted sums of them. The
    figures are float64 on the CPU, in percent: aAcc, mIoU, mIoU_labelled, mAcc, mDice (...); by class IoU, Acc, Dice
    (..., K), which are NaN and left out of the means where they would be 0 / 0.

    A difference of two mIoU does not measure harm: mIoU takes in an absent class as soon as one pixel is predicted as
    that class. `mIoU_labelled` is the mean over the classes that have labelled pixels, which ablation cannot change.
    """
    labelled, predicted, hits = margins.cpu().double().unbind(-2)
    by_class = {
        'IoU': 100 * hits / (labelled + predicted - hits),
        'Acc': 100 * hits / labelled,
        'Dice': 200 * hits / (labelled + predicted),
    }
    means = {f'm{name}': values.nanmean(-1) for name, values in by_class.items()}
    means['mIoU_labelled'] = by_class['IoU'].where(labelled > 0, torch.nan).nanmean(-1)
    return {'aAcc': 100 * hits.sum(-1) / labelled.sum(-1), **means, **by_class}


def segmentation_figures(confusion: Tensor) -> dict[str, Tensor]:
    """`margin_figures` of confusion counts [label, prediction], (..., K, K)."""
    return margin_figures(confusion_margins(confusion))


class MeanIoU:
    """mIoU by region, as the metric of a sweep (Sec. 4.2.2, Fig. 4 and 6).

    Args:
        classes: Names of the K classes. Default: the numbers of as many as the network has scores.
        regions: See `RegionStrips`.
        ignore_index: Label of pixels that are not counted.
    """

    name = 'miou'
    harm_of = 'mIoU_labelled'

    def __init__(
        self,
        classes: Sequence[str] | None = None,
        regions: Mapping[str, Sequence[float]] | None = None,
        ignore_index: int = 255,
    ) -> None:
        self.classes = None if classes is None else tuple(classes)
        self.strips, self.ignore_index = RegionStrips(regions), ignore_index
        self.regions = tuple(self.strips.regions)

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Margins of each image, int64 (N, strips, 3, K), of integer label maps (N, H, W) or (N, 1, H, W).

        Outputs are scores (N, K, h, w), resized to the labels' size if they differ (bilinear, as mmseg does without
        `align_corners`), or predicted classes (N, H, W) as integers.
        """
        if targets.ndim == 4 and targets.shape[1] == 1:
            targets = targets[:, 0]
        scores = outputs.ndim == 4 and outputs.is_floating_point() and outputs.shape[1] > 1
        labels_only = outputs.ndim == 3 and not outputs.is_floating_point() and self.classes is not None
        if targets.ndim != 3 or targets.is_floating_point() or len(outputs) != len(targets) or not scores | labels_only:
            got = [f'{each.dtype} {tuple(each.shape)}' for each in (targets, outputs)]
            outputs_of = 'scores (N, classes, h, w) or, with classes= given, predictions (N, H, W) of integers'
            raise ValueError(f'mIoU needs label maps (N, H, W) of integers and {outputs_of}, got {" and ".join(got)}')
        num_classes = outputs.shape[1] if self.classes is None else len(self.classes)
        if scores:
            if outputs.shape[1] != num_classes:
                raise ValueError(f'the network has {outputs.shape[1]} scores for {num_classes} classes')
            if outputs.shape[-2:] != targets.shape[-2:]:
                outputs = interpolate(outputs, targets.shape[-2:], mode='bilinear', align_corners=False)
            largest, outputs = outputs.max(1)  # On a CPU several times as fast as `argmax`, and a NaN is a maximum.
            if largest.isnan().any():
                raise ValueError('the scores must be numbers, got NaN: check the checkpoint')
        pairs = zip(targets, outputs, strict=True)
        counts = [count_strips(*pair, num_classes, self.strips, self.ignore_index) for pair in pairs]
        return confusion_margins(torch.stack(counts))

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        """mIoU, aAcc, mIoU_labelled and IoU/class in percent, by 'region/figure', of the whole data set's margins."""
        classes = self.classes or tuple(map(str, range(sums.shape[-1])))
        named: dict[str, Tensor] = {}
        for region, margins in self.strips.sum_regions(sums).items():
            figures = margin_figures(margins)
            named |= {f'{region}/{name}': figures[name] for name in ('mIoU', 'aAcc', self.harm_of)}
            for name, values in zip(classes, figures['IoU'].unbind(-1), strict=True):
                named[f'{region}/IoU/{name}'] = values
        return named

    def document(self) -> dict[str, Any]:
        return dict(classes=self.classes, regions=self.strips.regions, ignore_index=self.ignore_index)
