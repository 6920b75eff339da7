"""Images in which all of a class lies in one half: val-left and val-right."""

import json
import os
import os.path as osp
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations

_CITYPERSONS_SUFFIX = '_gtBboxCityPersons.json'
_FAR = 1e9  # px; no image is as wide


def halves(labels: np.ndarray, label: int) -> tuple[int, int]:
    """Pixels of a class in the left and in the right half (ours; at an odd width the middle column is right).

    Args:
        labels: Label map (H, W).
        label: The class.

    Returns:
        Number of pixels left and right.
    """
    middle = labels.shape[1] // 2
    return int((labels[:, :middle] == label).sum()), int((labels[:, middle:] == label).sum())


def side(left: float, right: float, tolerance: float = 0.0) -> str | None:
    """Name the half that holds all of a class (Sec. 4.2.3, Fig. 6: images for left and right rankings).

    Args:
        left: Pixels in the left half.
        right: Pixels in the right half.
        tolerance: Share of the pixels that may lie in the other half, in [0, 0.5).

    Returns:
        'left', 'right', or None where the class is absent or in both halves.

    Raises:
        ValueError: If the tolerance is out of range.

    Example:
        >>> side(90, 10), side(90, 10, tolerance=0.1)
        (None, 'left')
    """
    if not 0 <= tolerance < 0.5:
        raise ValueError(f'tolerance is a share of the pixels in [0, 0.5), got {tolerance}')
    allowed = tolerance * (left + right)
    if left > right:
        return 'left' if right <= allowed else None
    return 'right' if right > left and left <= allowed else None


def subsets_from_labels(
    dataset: BaseSegDataset, class_name: str = 'pedestrian', tolerance: float = 0.0
) -> dict[str, list[str]]:
    """Split a data set's images by the half that holds all of a class (Sec. 4.2.3: val-left and val-right).

    Reads the label maps as the data set does, with its label map and `reduce_zero_label`.

    Args:
        dataset: Any data set of mmseg, from files or in memory.
        class_name: The class; Cityscapes calls its pedestrians 'person'.
        tolerance: Share of the class's pixels that may lie in the other half, in [0, 0.5).

    Returns:
        Names under 'left' and 'right', as `ann_file` of the data set takes them.

    Raises:
        TypeError: If the data set is not one of mmseg's, e.g. a wrapper of several.
        ValueError: If the class is unknown or a subset is empty.
    """
    if not isinstance(dataset, BaseSegDataset):
        raise TypeError(f'dataset must be a BaseSegDataset of mmseg, got {type(dataset).__name__}; name one data set')
    classes = list(dataset.metainfo['classes'])
    if class_name not in classes:
        raise ValueError(f'class {class_name!r} is unknown; {type(dataset).__name__} has {", ".join(classes)}')
    label, loading = classes.index(class_name), LoadAnnotations(backend_args=dataset.backend_args)
    sides = {}
    for position in range(len(dataset)):
        info = dataset.get_data_info(position)
        labels = info['gt_seg_map'] if 'gt_seg_map' in info else loading(info)['gt_seg_map']
        sides[_name(dataset, info)] = side(*halves(labels, label), tolerance)
    return _subsets(sides, class_name, tolerance)


def subsets_from_boxes(
    folder: str | Path, class_name: str = 'pedestrian', tolerance: float = 0.0
) -> dict[str, list[str]]:
    """Split Cityscapes images by the half that holds all CityPersons boxes of a class (Sec. 4.2.3).

    Reads the annotation that Cityscapes offers: `<city>/<city>_*_gtBboxCityPersons.json`, each with `imgWidth` and
    `objects`, whose `bbox` is (x, y, width, height) in px and whose `label` names the class. A box counts by its area.

    Args:
        folder: Of one split, e.g. `gtBboxCityPersons/val`; searched with its subfolders.
        class_name: Label of the boxes: pedestrian, rider, sitting person, ...
        tolerance: Share of the boxes' area that may lie in the other half, in [0, 0.5).

    Returns:
        Names under 'left' and 'right', as `ann_file` of `CityscapesDataset` takes them.

    Raises:
        FileNotFoundError: If the folder holds no such annotation.
        ValueError: If a file is not one, the class is unknown or a subset is empty.
    """
    files = sorted(Path(folder).rglob(f'*{_CITYPERSONS_SUFFIX}'))
    if not files:
        raise FileNotFoundError(
            f'no *{_CITYPERSONS_SUFFIX} below {folder}; unpack gtBboxCityPersons_trainval.zip there'
        )
    sides: dict[str, str | None] = {}
    known: set[str] = set()
    for file in files:
        middle, boxes = _read_citypersons(file)
        known |= {label for label, *_ in boxes}
        spans = [(x, width, height) for label, x, width, height in boxes if label == class_name]
        left = sum(min(max(middle - x, 0), width) * height for x, width, height in spans)
        whole = sum(width * height for _, width, height in spans)
        name = file.relative_to(folder).as_posix().removesuffix(_CITYPERSONS_SUFFIX)
        sides[name] = side(left, whole - left, tolerance)
    if class_name not in known:
        raise ValueError(f'class {class_name!r} is unknown; the boxes are of {", ".join(sorted(known))}')
    return _subsets(sides, class_name, tolerance)


def write_list(names: Sequence[str], path: str | Path) -> None:
    """Write names as mmseg's `ann_file` reads them, one a line, whole or not at all (ours)."""
    path = Path(path)
    odd = [name for name in names if not name.isprintable() or not name.strip() or name != name.strip()]
    if odd:
        raise ValueError(f'{path} takes names of one line without spaces around them, got {odd[0]!r:.100}')
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_citypersons(file: Path) -> tuple[float, list[tuple[str, float, float, float]]]:
    """The middle of the image, and label, x, width and height of each box."""
    try:
        annotation = json.loads(file.read_text(encoding='utf-8'))
        boxes = []
        for item in annotation['objects']:
            x, y, width, height = item['bbox']
            if not isinstance(item['label'], str):
                raise TypeError(f'a label must be text, got {item["label"]!r:.60}')
            boxes.append((item['label'], _pixels(x, -_FAR), _pixels(width), _pixels(height)))
            _pixels(y, -_FAR)
        return _pixels(annotation['imgWidth'], 1) / 2, boxes
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f'{type(error).__name__}: {error}'
        raise ValueError(f'{file} is not a CityPersons annotation with imgWidth and objects ({reason})') from error


def _pixels(number: object, least: float = 0) -> float:
    if not isinstance(number, (int, float)) or isinstance(number, bool) or not least <= number <= _FAR:
        raise ValueError(f'a place or a size must be a number of px from {least:g} to {_FAR:g}, got {number!r:.60}')
    return float(number)


def _name(dataset: BaseSegDataset, info: Mapping[str, str]) -> str:
    folder = dataset.data_prefix.get('img_path') or ''
    return osp.relpath(info['img_path'], folder or '.').removesuffix(dataset.img_suffix)


def _subsets(sides: Mapping[str, str | None], class_name: str, tolerance: float) -> dict[str, list[str]]:
    subsets: dict[str, list[str]] = {
        half: [name for name, found in sides.items() if found == half] for half in ('left', 'right')
    }
    empty = [half for half, names in subsets.items() if not names]
    if empty:
        raise ValueError(
            f'no image of {len(sides)} has all of {class_name!r} in the {" or in the ".join(empty)} half; '
            f'raise the tolerance ({tolerance}) or choose another class'
        )
    return subsets
