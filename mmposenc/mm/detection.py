"""Detectors of mmdet (supplement): what a sweep keeps of their detections, and the boxes of their data sets.

What is said here of mmdet holds for mmdet 3. It is imported by the runner that builds a detector, not here.
"""

import os.path as osp
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.data import Subset

from mmposenc.channels.detections import DetectionMetric
from mmposenc.channels.sweep_plan import SweepPlan
from mmposenc.channels.variants import VariantForwards
from mmposenc.layers import find_module
from mmposenc.mm.datasets.region_subsets import make_subsets
from mmposenc.regions.sides import box_halves, side


def is_detector(model: nn.Module) -> bool:
    """Whether a model is a detector of mmdet."""
    return hasattr(model, 'add_pred_to_datasample')


def detection_metric(model: Any, data_set: Any) -> DetectionMetric:
    """The metric of a detector on a data set; counts its boxes."""
    classes = _whole(data_set).metainfo['classes']
    num_boxes = np.zeros(len(classes), int)
    for position in range(len(data_set)):
        truth = true_boxes(data_set, position)
        np.add.at(num_boxes, truth['labels'][truth['ignore'] == 0], 1)
    limits = model.test_cfg or {}  # a detector of two stages has those of the second in `rcnn`
    most = limits.get('rcnn', limits).get('max_per_img', 100)
    return DetectionMetric(classes, num_boxes.tolist(), len(data_set), most)


class DetectionCounts:
    """Detections of each run, matched to the boxes of the data set, image by image.

    Args:
        model: A detector of mmdet, without wrappers, in evaluation mode.
        plan: What is swept.
        metric: Of the same data set, see `detection_metric`.
        data_set: Whose boxes are the truth, in the coordinates of the original images.
        level: '1': a forward for each variant; '2' or 'auto': they share what comes before the layer.
        memory: MiB for what is held of several variants at once.
        say: Gets a line for each layer on what is shared, or why it is not.
    """

    def __init__(
        self,
        model: Any,
        plan: SweepPlan,
        metric: DetectionMetric,
        data_set: Any,
        level: str = 'auto',
        memory: float = 1024,
        say: Callable[[str], None] = print,
    ) -> None:
        if level not in ('auto', '1', '2'):
            raise ValueError(f'level must be one of auto, 1, 2 for a detector, got {level!r}')
        for layer in plan.layers:
            find_module(model, layer)
        options = dict(reuse=level != '1', stack=False, say=say)
        self.forwards = {layer: VariantForwards(model, layer, plan.total, memory, **options) for layer in plan.layers}  # type: ignore[arg-type]
        self.model, self.plan, self.metric, self.data_set = model, plan, metric, data_set

    @torch.no_grad()
    def count(self, data: dict, positions: Sequence[int]) -> Tensor:
        """Count one batch, as the data preprocessor gives it: (images, runs, detections, 4), see `DetectionMetric`."""
        truths = [true_boxes(self.data_set, position) for position in positions]
        counts = torch.empty(len(truths), self.plan.num_runs, self.metric.max_detections, 4)

        def detections(copies: int) -> list[Any]:
            samples = self.model(data['inputs'], data['data_samples'], mode='predict')
            return [sample.pred_instances for sample in samples]

        def scores(copies: int) -> Tensor:
            with _head_outputs(self.model) as outputs:
                detections(copies)
            if not outputs:
                raise ValueError(f'no head of {type(self.model).__name__} is called by name: sweep at level 1')
            return torch.cat(outputs)

        def take(run: int, found: list[Any]) -> None:
            outputs = [
                dict(boxes=each.bboxes.cpu(), scores=each.scores.cpu(), labels=each.labels.cpu()) for each in found
            ]
            counts[:, run] = self.metric.count(outputs, truths)

        take(0, detections(1))
        for layer, variants in self.forwards.items():
            for run, found in variants.run(self.plan.orders_at(layer), detections, scores):
                take(run, found)
        return counts


@contextmanager
def _head_outputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """What the heads of a detector give while the block runs: all there is before thresholds and suppression."""
    seen: list[Tensor] = []

    def note(module: nn.Module, given: Any, output: Any) -> None:
        seen.extend(leaf.flatten().float() for leaf in tree_leaves(output) if isinstance(leaf, Tensor))

    heads = [module for module in model.modules() if type(module).__name__.endswith('Head')]
    handles = [head.register_forward_hook(note) for head in heads]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def true_boxes(data_set: Any, position: int) -> dict[str, np.ndarray]:
    """Boxes (x1, y1, x2, y2) of an image of a data set, their labels, and which are to be ignored.

    ValueError if the data set has none, as its classes have.
    """
    while isinstance(data_set, Subset):
        data_set, position = data_set.dataset, data_set.indices[position]
    instances = data_set.get_data_info(position).get('instances')
    if instances is None:
        raise ValueError(f'{type(data_set).__name__} has no boxes: its annotations need instances, as those of mmdet')
    return dict(
        boxes=np.array([instance['bbox'] for instance in instances], float).reshape(-1, 4),
        labels=np.array([instance['bbox_label'] for instance in instances], int),
        ignore=np.array([instance.get('ignore_flag', 0) for instance in instances], int),
    )


def has_boxes(data_set: Any) -> bool:
    """Whether a data set gives boxes as those of mmdet do."""
    return len(data_set) > 0 and 'instances' in data_set.get_data_info(0)


def subsets_from_instances(
    data_set: Any, class_name: str | Sequence[str] = 'pedestrian', tolerance: float = 0.0
) -> dict[str, list[str]]:
    """Split the images of a data set by the half that holds all boxes of a class, by area (Sec. 4.2.3).

    Boxes to be ignored are left out. As `mmposenc.mm.datasets.subsets_from_labels`, for the data sets of mmdet.
    """
    classes = list(data_set.metainfo['classes'])
    chosen = [class_name] if isinstance(class_name, str) else list(class_name)
    for name in chosen:
        if name not in classes:
            raise ValueError(f'class {name!r} is unknown; {type(data_set).__name__} has {", ".join(classes)}')
    sides = {}
    for position in range(len(data_set)):
        info, truth = data_set.get_data_info(position), true_boxes(data_set, position)
        own = truth['boxes'][
            np.isin(truth['labels'], [classes.index(name) for name in chosen]) & (truth['ignore'] == 0)
        ]
        width = info['width'] if 'width' in info else info['ori_shape'][1]
        boxes = np.concatenate([own[:, :2], own[:, 2:] - own[:, :2]], axis=1).tolist()
        sides[_name(data_set, info)] = side(*box_halves(boxes, width), tolerance)
    return make_subsets(sides, ', '.join(chosen), tolerance)


def listed_positions(data_set: Mapping[str, Any], path: str) -> list[int]:
    """Positions of the images that a list of `mmposenc region-lists` names, in the data set of a config."""
    built = DATASETS.build({**data_set, 'pipeline': []})
    listed = set(filter(None, map(str.strip, Path(path).read_text(encoding='utf-8').splitlines())))
    names = [_name(built, built.get_data_info(position)) for position in range(len(built))]
    if unknown := listed - set(names):
        raise ValueError(f'{path} must list images of {type(built).__name__} such as {names[0]}, got {min(unknown)}')
    return [position for position, name in enumerate(names) if name in listed]


def _name(data_set: Any, info: Mapping[str, Any]) -> str:
    """Path of an image below the folder of the images, without suffix."""
    folder = data_set.data_prefix.get('img', data_set.data_prefix.get('img_path'))
    return osp.splitext(osp.relpath(info['img_path'], folder or '.'))[0]


def _whole(data_set: Any) -> Any:
    return _whole(data_set.dataset) if isinstance(data_set, Subset) else data_set
