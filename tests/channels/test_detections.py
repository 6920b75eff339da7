"""Figures of a sweep of a detector: the miss rate by hand, AP against pycocotools on the whole data set."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from mmposenc import named_metric
from mmposenc.channels.detections import DetectionMetric, log_average_miss_rate


def test_the_miss_rate_by_hand() -> None:
    matched, ignored = np.array([1, 0, 1, 0, 0, 1]), np.array([0, 0, 0, 1, 0, 0])
    # In 10 images: 0, 0.1, 0.1, 0.1, 0.2, 0.2 false ones an image; of 4 boxes 0.75, 0.75, 0.5, 0.5, 0.5, 0.25 missed.
    # Four of the nine points lie below 0.1, one at 0.1, one below 0.2.
    expected = np.exp((4 * np.log(0.75) + 2 * np.log(0.5) + 3 * np.log(0.25)) / 9)
    assert log_average_miss_rate(matched, ignored, 4, 10) == pytest.approx(expected)


@pytest.mark.parametrize('matched, num_images, expected', [([], 0.5, 1), ([0, 1], 0.5, 1), ([1, 1], 1, 1e-10)])
def test_the_ends_of_the_miss_rate(matched: list[int], num_images: float, expected: float) -> None:
    array = np.array(matched, int)
    assert log_average_miss_rate(array, 0 * array, 2, num_images) == pytest.approx(expected)


@pytest.fixture
def boxes() -> tuple[list[list[dict]], list[dict]]:
    """Detections of 3 runs on 30 images, and the boxes, of 2 classes; some are to be ignored, some images are empty."""
    rng = np.random.default_rng(0)
    runs: list[list[dict]] = [[], [], []]
    truths = []
    for _ in range(30):
        number = rng.integers(0, 5)
        corners = rng.uniform(0, 60, (number, 2))
        true = np.concatenate([corners, corners + rng.uniform(8, 30, (number, 2))], axis=1)
        labels = rng.integers(0, 2, number)
        truths.append(dict(boxes=true, labels=labels, ignore=(rng.random(number) < 0.2).astype(int)))
        for run, noise in zip(runs, (0.5, 2, 6), strict=True):
            more = rng.integers(0, 3)
            near, far = true + rng.normal(0, noise, true.shape), rng.uniform(0, 1, (more, 4)) + np.array([0, 0, 9, 9])
            found = dict(boxes=np.concatenate([near, far]).astype(np.float32))
            found['scores'] = rng.random(number + more).astype(np.float32)
            found['labels'] = np.concatenate([labels, rng.integers(0, 2, more)])
            run.append({name: torch.from_numpy(values) for name, values in found.items()})
    return runs, truths


def number_of_boxes(truths: list[dict]) -> list[int]:
    return [sum(int(((t['labels'] == label) & (t['ignore'] == 0)).sum()) for t in truths) for label in (0, 1)]


def test_ap_is_that_of_pycocotools_on_the_whole_data_set(boxes: tuple, capsys: pytest.CaptureFixture) -> None:
    coco = pytest.importorskip('pycocotools.coco', reason='AP comes from pycocotools, which mmdet brings')
    from pycocotools.cocoeval import COCOeval

    runs, truths = boxes
    metric = DetectionMetric(['person', 'car'], number_of_boxes(truths), len(truths), 20)
    counts = torch.stack([metric.count(run, truths) for run in runs], dim=1)
    assert counts.shape == (30, 3, 20, 4)
    figures = metric.finish(metric.pool(counts))
    assert set(figures) == {*(f'{n}{c}' for n in ('AP', 'AP50', 'MR') for c in ('', '/person', '/car'))}

    def entry(image: int, box: Iterable, label: Any, **more: Any) -> dict[str, Any]:
        left, top, right, bottom = map(float, box)
        return dict(image_id=image, category_id=int(label), bbox=[left, top, right - left, bottom - top], **more)

    annotations = []
    for image, truth in enumerate(truths):
        for box, label, ignore in zip(truth['boxes'], truth['labels'], truth['ignore'], strict=True):
            about = dict(id=len(annotations) + 1, area=(box[2:] - box[:2]).prod(), iscrowd=int(ignore))
            annotations.append(entry(image, box, label, **about))
    whole, ids = coco.COCO(), [dict(id=i) for i in range(30)]
    whole.dataset = dict(images=ids, categories=ids[:2], annotations=annotations)
    whole.createIndex()
    for number, run in enumerate(runs):
        found = [
            entry(image, box, label, score=float(score))
            for image, each in enumerate(run)
            for box, score, label in zip(each['boxes'].double(), each['scores'], each['labels'], strict=True)
        ]
        evaluation = COCOeval(whole, whole.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval['precision'][:, :, :, 0, -1]
        assert float(figures['AP'][number]) == pytest.approx(100 * precision.mean(), abs=1e-9)
        assert float(figures['AP50/car'][number]) == pytest.approx(100 * precision[0, :, 1].mean(), abs=1e-9)
        cars = [one for one in evaluation.evalImgs if one and (one['category_id'], one['aRng']) == (1, [0, 1e10])]
        order = np.argsort([-score for one in cars for score in one['dtScores']])
        bits = [np.concatenate([one[name][0] for one in cars])[order] for name in ('dtMatches', 'dtIgnore')]
        missed = 100 * log_average_miss_rate(*bits, number_of_boxes(truths)[1], len(truths))
        assert float(figures['MR/car'][number]) == pytest.approx(missed)
    assert figures['AP'][0] > figures['AP'][1] > figures['AP'][2] > 0
    assert figures['MR'][0] < figures['MR'][2]
    document = json.loads(json.dumps(metric.document()))
    again = named_metric('detection', **document).finish(metric.pool(counts))
    assert all(torch.equal(again[name], figures[name]) for name in figures)


def test_a_data_set_without_boxes_is_refused() -> None:
    with pytest.raises(ValueError, match='the data set has no box of person'):
        DetectionMetric(['person'], [0], 3)
