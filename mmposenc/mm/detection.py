"""Detectors of mmdet 3 (supplement), which is not imported here, and the boxes of their data sets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import Subset

from mmposenc.channels.detections import DetectionMetric
from mmposenc.mm.datasets.region_subsets import class_numbers, image_name, make_subsets
from mmposenc.regions.sides import box_halves, side


def is_detector(model: nn.Module) -> bool:
    """Whether a model is a detector of mmdet."""
    return hasattr(model, 'add_pred_to_datasample')


def detection_metric(model: Any, data_set: Any) -> DetectionMetric:
    """The metric of a detector on a data set; counts its boxes."""
    classes = getattr(data_set, 'dataset', data_set).metainfo['classes']
    num_boxes = np.zeros(len(classes), int)
    for position in range(len(data_set)):
        truth = true_boxes(data_set, position)
        np.add.at(num_boxes, truth['labels'][truth['ignore'] == 0], 1)
    limits = model.test_cfg or {}  # a detector of two stages has those of the second in `rcnn`
    most = limits.get('rcnn', limits).get('max_per_img', 100)
    return DetectionMetric(classes, num_boxes.tolist(), len(data_set), most)


def true_boxes(data_set: Any, position: int) -> dict[str, np.ndarray]:
    """Boxes (x1, y1, x2, y2) of an image of a data set, their labels, and which are to be ignored."""
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
    """`mmposenc.mm.datasets.subsets_from_labels` for the data sets of mmdet, by the area of boxes not to be ignored."""
    numbers, sides = class_numbers(data_set, class_name), {}
    for position in range(len(data_set)):
        info, truth = data_set.get_data_info(position), true_boxes(data_set, position)
        own = truth['boxes'][np.isin(truth['labels'], [*numbers.values()]) & (truth['ignore'] == 0)]
        width = info['width'] if 'width' in info else info['ori_shape'][1]
        boxes = np.concatenate([own[:, :2], own[:, 2:] - own[:, :2]], axis=1).tolist()
        sides[image_name(data_set, info)] = side(*box_halves(boxes, width), tolerance)
    return make_subsets(sides, ', '.join(numbers), tolerance)
