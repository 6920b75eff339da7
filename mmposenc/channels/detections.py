"""The metric of a sweep of a detector: COCO AP, AP50 and the log-average miss rate."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor

Boxes = Mapping[str, Any]
FIGURES = 'AP', 'AP50', 'MR'
_BITS = 2 ** np.arange(10)  # one for each IoU from 0.50 to 0.95
_ALL = [0, 1e10]  # areas, in px


class DetectionMetric:
    """COCO AP, AP50 and the log-average miss rate MR: means over the classes, and of each where there are several.

    pycocotools matches the detections of an image to its boxes, and averages the precision. AP and MR are no sums over
    images, so the matched detections are kept. The miss rate is that of Dollar et al., "Pedestrian Detection: An
    Evaluation of the State of the Art" (PAMI 2012), at IoU 0.5 over all boxes: low is good. Harm is the loss of AP.

    Args:
        classes, num_boxes, num_images: Names of the classes; boxes of each, but for ignored ones; images.
        max_detections: Most confident detections of an image that are kept; of a class at most 100, as in COCO's AP.

    Sums are (images, max_detections, 4): score, class (-1 for none), and as bits for each IoU from 0.50 to 0.95 whether
    the detection is matched, and whether it is ignored.
    """

    name = 'detection'
    regions = ('overall',)
    harm_of = 'AP'

    def __init__(
        self, classes: Sequence[str], num_boxes: Sequence[int], num_images: int, max_detections: int = 100
    ) -> None:
        if not any(num_boxes):
            raise ValueError(f'the data set has no box of {", ".join(classes)}, so there is nothing to detect')
        self.classes, self.num_boxes = list(classes), list(num_boxes)
        self.num_images, self.max_detections = num_images, max_detections

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ('classes', 'num_boxes', 'num_images', 'max_detections')}

    def count(self, outputs: Sequence[Boxes], targets: Sequence[Boxes]) -> Tensor:
        """Match the detections of each image (`boxes` as x1, y1, x2, y2; `scores`; `labels`) to its boxes.

        Targets have `ignore` instead of scores: whether detections of the box are neither right nor wrong.
        """
        return torch.stack([self._match(*pair) for pair in zip(outputs, targets, strict=True)])

    def _match(self, found: Boxes, truth: Boxes) -> Tensor:
        from pycocotools.cocoeval import COCOeval

        matcher = COCOeval(iouType='bbox')
        limit = matcher.params.maxDets[-1]  # of a class in an image, 100
        detections = _coco(found, score=np.asarray(found['scores'], float))
        boxes = _coco(truth, ignore=truth['ignore'], iscrowd=truth['ignore'])
        rows = []
        for label in range(len(self.classes)):
            matcher._dts = {(0, label): detections.get(label, [])}
            matcher._gts = {(0, label): boxes.get(label, [])}
            matcher.ious = {(0, label): matcher.computeIoU(0, label)}
            matched = matcher.evaluateImg(0, label, _ALL, limit)
            if matched is not None and matched['dtScores']:
                bits = (_BITS @ (matched[name] > 0) for name in ('dtMatches', 'dtIgnore'))
                rows.append(np.stack([matched['dtScores'], np.full(len(matched['dtScores']), label), *bits], axis=1))
        kept = torch.tensor([0.0, -1.0, 0.0, 0.0]).repeat(self.max_detections, 1)
        if rows:
            best = np.concatenate(rows)
            best = best[np.argsort(-best[:, 0], kind='stable')][: self.max_detections]
            kept[: len(best)] = torch.from_numpy(best)
        return kept

    def pool(self, counts: Tensor) -> Tensor:
        """The detections of all images together, (runs, detections, 4), from those of each image and run."""
        return counts.transpose(0, 1).flatten(1, 2)

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        """Figures in % of pooled detections (runs, detections, 4)."""
        labelled = [label for label, number in enumerate(self.num_boxes) if number]
        of_class = torch.stack([self._figures_of(run[run[:, 1] >= 0].cpu().numpy()) for run in sums])[:, labelled]
        figures = dict(zip(FIGURES, of_class.mean(1).unbind(-1), strict=True))
        for i, label in enumerate(labelled if len(self.classes) > 1 else ()):
            figures |= {f'{name}/{self.classes[label]}': of_class[:, i, k] for k, name in enumerate(FIGURES)}
        return figures

    def _figures_of(self, rows: np.ndarray) -> Tensor:
        """AP, AP50 and MR in % of each class, (classes, 3)."""
        from pycocotools.cocoeval import COCOeval

        rows = rows[np.argsort(-rows[:, 0], kind='stable')]
        of_class = [rows[rows[:, 1] == label] for label in range(len(self.classes))]
        evaluation = COCOeval(iouType='bbox')
        evaluation.params.catIds, evaluation.params.imgIds = list(range(len(self.classes))), [0]
        evaluation.params.areaRng, evaluation.params.maxDets = [_ALL], [len(rows)]
        evaluation._paramsEval = evaluation.params
        evaluation.evalImgs = [
            dict(
                dtScores=own[:, 0],
                dtMatches=own[:, 2].astype(int) & _BITS[:, None] > 0,
                dtIgnore=own[:, 3].astype(int) & _BITS[:, None] > 0,
                gtIgnore=np.zeros(number),
            )
            for own, number in zip(of_class, self.num_boxes, strict=True)
        ]
        with redirect_stdout(io.StringIO()):
            evaluation.accumulate()
        precision = evaluation.eval['precision'][..., 0, 0]  # (IoUs, recalls, classes)
        missed = [
            log_average_miss_rate(own[:, 2].astype(int) & 1, own[:, 3].astype(int) & 1, number, self.num_images)
            for own, number in zip(of_class, self.num_boxes, strict=True)
        ]
        return 100 * torch.from_numpy(np.stack([precision.mean((0, 1)), precision[0].mean(0), missed], axis=1))


def log_average_miss_rate(matched: np.ndarray, ignored: np.ndarray, num_boxes: int, num_images: int) -> float:
    """Geometric mean of the miss rate at nine rates of false positives per image, from 1e-2 to 1e0 in equal ratios.

    At each it is the miss rate of the last detection with at most as many false positives, 1 if there is none.
    `matched` says of each detection, the most confident first, whether it is right, and `ignored` whether it counts as
    neither right nor wrong.
    """
    false = np.cumsum((matched == 0) & (ignored == 0)) / num_images
    missed = 1 - np.cumsum((matched > 0) & (ignored == 0)) / max(num_boxes, 1)
    last = np.searchsorted(false, np.logspace(-2, 0, 9) + 1e-12, side='right')
    return float(np.exp(np.log(np.maximum(np.append(1, missed)[last], 1e-10)).mean()))


def _coco(boxes: Boxes, **more: Any) -> dict[int, list[dict[str, Any]]]:
    """Boxes as pycocotools takes them, by label."""
    corners = np.asarray(boxes['boxes'], float).reshape(-1, 4)
    sides = corners[:, 2:] - corners[:, :2]
    listed: dict[int, list[dict[str, Any]]] = {}
    for i, label in enumerate(np.asarray(boxes['labels']).tolist()):
        fields = {name: values[i] for name, values in more.items()}
        box = dict(id=i + 1, bbox=[*corners[i, :2], *sides[i]], area=sides[i].prod(), **fields)
        listed.setdefault(label, []).append(box)
    return listed
