"""Region boxes, label maps and CityPersons' box files: an accepted one holds exactly the pixels it says."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_cases import end_of_tool, hostile, nothing_written, outcome
from hostile_values import JSON, NUMBERS, TEXTS, changed_json, damaged
from hypothesis import example
from hypothesis import strategies as st

from mmposenc.mm.datasets.region_subsets import subsets_from_boxes, write_list
from mmposenc.mm.metrics.region_iou import RegionIoUMetric
from mmposenc.regions.confusion import count_strips
from mmposenc.regions.strips import RegionStrips

FRACTIONS = st.floats(0, 1) | st.sampled_from([0, 1, 0.25, 0.5, 1 / 3, 5e-324, 1 - 2**-53, -0.0])
BOXES = st.lists(FRACTIONS | NUMBERS, min_size=4, max_size=4) | st.tuples(*[FRACTIONS] * 4) | JSON
NAMES = st.sampled_from(['left', 'right', 'overall', 'Fußgänger']) | TEXTS

ODD_CLASSES = [-1, 3, float('nan'), float('inf'), 1e30]


def is_box(box: Any) -> bool:
    """The independent statement of a right box."""
    if type(box) not in (list, tuple) or len(box) != 4 or any(type(cut) not in (int, float) for cut in box):
        return False
    x0, y0, x1, y1 = box
    return x0 >= 0 and y0 >= 0 and x1 <= 1 and y1 <= 1 and x1 > x0 and y1 > y0


def inside(box: Any, height: int, width: int) -> np.ndarray:
    """Pixels whose centre lies in a box, the lower border included: one comparison per pixel."""
    x0, y0, x1, y1 = box
    columns = [x0 * width <= column + 0.5 < x1 * width for column in range(width)]
    rows = [y0 * height <= row + 0.5 < y1 * height for row in range(height)]
    return np.outer(rows, columns)


@hostile(
    400,
    regions=st.dictionaries(NAMES, BOXES, max_size=4) | JSON,
    height=st.integers(0, 9),
    width=st.integers(0, 9),
)
@example(regions={'left': [0, 0, 10**400, 1]}, height=3, width=3)
@example(regions={'left': [float('nan'), 0, 1, 1]}, height=3, width=3)
@example(regions={'a\nb': [0, 0, 1, 1]}, height=3, width=3)
def test_accepted_boxes_hold_the_pixels_they_say(regions: Any, height: int, width: int) -> None:
    strips, message = outcome(lambda: RegionStrips(regions))
    if message is not None:
        assert 'region' in message
        good = isinstance(regions, dict) and all(is_box(box) for box in regions.values())
        named = good and all(name.isprintable() and name and '/' not in name for name in regions)
        assert not named or tuple(regions.get('overall', (0, 0, 1, 1))) != (0, 0, 1, 1)
        return
    boxes = {'overall': (0, 0, 1, 1), **(regions if regions is not None else strips.regions)}
    assert strips.regions.keys() == boxes.keys()
    assert all(is_box(box) for box in boxes.values())
    masks = {name: inside(box, height, width) for name, box in boxes.items()}
    index, message = outcome(lambda: strips.index(height, width))
    assert (message is None) == all(mask.any() for mask in masks.values())
    if message is not None:
        return
    strip = (index[0] + index[1]).numpy()
    # One count a pixel, put through the class's own sum: region by region it must be the mask.
    counts = torch.nn.functional.one_hot(torch.from_numpy(strip).long(), len(strips))[..., None, None]
    for name, summed in strips.sum_regions(counts).items():
        assert np.array_equal(summed[..., 0, 0].numpy() == 1, masks[name]), name


@hostile(
    150,
    labels=st.lists(st.sampled_from([0, 1, 2, 255] * 6 + [-1, 3, 2**40]), min_size=6, max_size=6),
    prediction=st.lists(st.sampled_from([0, 1, 2] * 8 + ODD_CLASSES), min_size=6, max_size=6),
)
@example(labels=[255] * 6, prediction=[*ODD_CLASSES, 0])
@example(labels=[0] * 6, prediction=[float('nan')] * 6)
@example(labels=[0] * 6, prediction=[float('-inf')] * 6)
def test_counted_pixels_are_those_of_a_loop(labels: list, prediction: list) -> None:
    strips = RegionStrips({'left': (0, 0, 0.5, 1)})
    label_map = torch.tensor(labels).view(2, 3)
    predicted = torch.tensor(prediction).view(2, 3)
    counts, message = outcome(lambda: count_strips(label_map, predicted, 3, strips))
    pairs = [(label, p) for label, p in zip(labels, prediction, strict=True) if label != 255]
    fits = all(0 <= label < 3 and 0 <= p < 3 for label, p in pairs)
    assert (message is None) == fits, message
    if message is None:
        total = strips.sum_regions(counts)['overall']
        expected = torch.zeros(3, 3, dtype=torch.int64)
        for label, p in pairs:
            expected[label, int(p)] += 1
        assert torch.equal(total, expected)


@hostile(150, arguments=st.dictionaries(st.sampled_from(['regions', 'ignore_index', 'iou_metrics', 'classwise']), JSON))
def test_any_value_in_the_metric(arguments: dict) -> None:
    metric, message = outcome(lambda: RegionIoUMetric(**arguments))
    if message is not None:
        assert any(name.removesuffix('s') in message for name in arguments)
    else:
        assert set(metric.iou_metrics) <= {'mIoU', 'mDice'}
        assert all(is_box(box) for box in metric.strips.regions.values())
        assert isinstance(metric.ignore_index, int)
        assert isinstance(metric.classwise, bool)


def boxes_of(width: int, *boxes: tuple[str, list]) -> dict:
    return dict(imgWidth=width, objects=[dict(label=label, bbox=list(box)) for label, box in boxes])


LEFT = boxes_of(100, ('pedestrian', [3, 4, 20, 10]), ('rider', [60, 0, 5, 5]))
RIGHT = boxes_of(100, ('pedestrian', [60, 4, 20, 10]))


def write_annotations(folder: Path, first: bytes) -> Path:
    for name, content in (('aa_0', first), ('aa_1', json.dumps(LEFT).encode()), ('bb_0', json.dumps(RIGHT).encode())):
        path = folder / 'boxes' / name[:2] / f'{name}_gtBboxCityPersons.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / 'boxes'


def half_of(content: bytes) -> str | None:
    """The half that holds all pedestrians, from the corners of the boxes; raises if there is anything odd."""
    annotation = json.loads(content)
    width = float(annotation['imgWidth'])
    assert 0 < width < math.inf
    areas = {'left': 0.0, 'right': 0.0}
    for item in annotation['objects']:
        x, y, across, down = map(float, item['bbox'])
        assert all(math.isfinite(number) for number in (x, y, across, down))
        assert min(across, down) >= 0
        if str(item['label']) == 'pedestrian':
            cut = min(max(width / 2, x), x + across)
            areas['left'] += (cut - x) * down
            areas['right'] += (x + across - cut) * down
    filled = [side for side, area in areas.items() if area > 0]
    return filled[0] if len(filled) == 1 else None


def check_annotations(folder: Path, content: bytes) -> None:
    boxes = write_annotations(folder, content)
    with nothing_written(folder):
        subsets, message = outcome(lambda: subsets_from_boxes(boxes))
    if message is not None:
        assert str(boxes / 'aa' / 'aa_0_gtBboxCityPersons.json') in message
        return
    half = half_of(content)
    assert subsets == {
        'left': (['aa/aa_0'] if half == 'left' else []) + ['aa/aa_1'],
        'right': (['aa/aa_0'] if half == 'right' else []) + ['bb/bb_0'],
    }


def test_whole_annotations_are_accepted(tmp_path: Path) -> None:
    boxes = write_annotations(tmp_path, json.dumps(LEFT).encode())
    assert subsets_from_boxes(boxes) == {'left': ['aa/aa_0', 'aa/aa_1'], 'right': ['bb/bb_0']}


@hostile(200, content=damaged(json.dumps(LEFT).encode()))
def test_damaged_box_files(tmp_path: Path, content: bytes) -> None:
    check_annotations(tmp_path, content)


@hostile(300, content=changed_json(LEFT))
@example(content=json.dumps(boxes_of(10**400)).encode())
@example(content=json.dumps(boxes_of(100, ('pedestrian', [60, 0, -20, 5]))).encode())
@example(content=json.dumps(boxes_of(100, ('pedestrian', [float('nan'), 0, 20, 5]))).encode())
@example(content=json.dumps(boxes_of(100, ('pedestrian', [1e308, 0, 1e308, 1e308]))).encode())
def test_changed_box_files(tmp_path: Path, content: bytes) -> None:
    check_annotations(tmp_path, content)


@hostile(40, 5, content=changed_json(LEFT) | damaged(json.dumps(LEFT).encode()))
def test_region_lists_are_whole_or_absent(hosts_unchanged: None, tmp_path: Path, capsys: Any, content: bytes) -> None:
    boxes, lists = write_annotations(tmp_path, content), tmp_path / 'lists'
    for path in lists.glob('*'):
        path.unlink()
    arguments = ['--citypersons', str(boxes), '--out-dir', str(lists)]
    status, error = end_of_tool('make_region_lists', arguments, capsys)
    if status:
        assert 'aa_0_gtBboxCityPersons.json' in error
        assert not list(lists.glob('*'))
    else:
        assert sorted(path.name for path in lists.iterdir()) == ['val-left.txt', 'val-right.txt']
        assert (lists / 'val-right.txt').read_text().splitlines()[-1] == 'bb/bb_0'


@hostile(100, names=st.lists(TEXTS, min_size=1, max_size=4))
def test_a_list_of_names_reads_back_line_by_line(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / 'list.txt'
    path.unlink(missing_ok=True)
    _, message = outcome(lambda: write_list(names, path), path)
    if message is None:
        assert path.read_bytes().decode().split('\n') == [*names, '']
        assert all(name.strip() == name and name for name in names)
    else:
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('tolerance', ['nan', '0.5', '-1', 'inf', 'x'])
def test_a_tolerance_out_of_range_is_refused(
    hosts_unchanged: None, tmp_path: Path, capsys: Any, tolerance: str
) -> None:
    boxes = write_annotations(tmp_path, json.dumps(LEFT).encode())
    options = ['--citypersons', str(boxes), '--out-dir', str(tmp_path / 'lists'), f'--tolerance={tolerance}']
    status, error = end_of_tool('make_region_lists', options, capsys)
    assert status in (1, 2)
    assert 'tolerance' in error
    assert not (tmp_path / 'lists').exists()
