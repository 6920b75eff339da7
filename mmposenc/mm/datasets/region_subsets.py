"""Images in which all of a class lies in one half: val-left and val-right."""

import json
import os.path as osp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations

from mmposenc.regions.sides import box_halves, halves, side
from mmposenc.results import atomic_write

_CITYPERSONS_SUFFIX = '_gtBboxCityPersons.json'


def subsets_from_labels(
    dataset: BaseSegDataset, class_name: str | Sequence[str] = 'pedestrian', tolerance: float = 0.0
) -> dict[str, list[str]]:
    """Split the images of a data set by the half that holds all of a class (Sec. 4.2.3: val-left and val-right).

    The label maps are read as the data set of mmseg reads them. Returns names under 'left' and 'right', as its
    `ann_file` lists them; ValueError if one is empty.

    Args:
        class_name: The class; Cityscapes calls its pedestrians 'person'. Several classes count as one.
        tolerance: Share of the class's pixels that may lie in the other half, in [0, 0.5).
    """
    if not isinstance(dataset, BaseSegDataset):
        raise TypeError(f'dataset must be a BaseSegDataset of mmseg, got {type(dataset).__name__}; name one data set')
    numbers, loading = class_numbers(dataset, class_name), LoadAnnotations(backend_args=dataset.backend_args)
    sides = {}
    for position in range(len(dataset)):
        info = dataset.get_data_info(position)
        labels = info['gt_seg_map'] if 'gt_seg_map' in info else loading(info)['gt_seg_map']
        left, right = map(sum, zip(*(halves(labels, number) for number in numbers.values()), strict=True))
        sides[image_name(dataset, info)] = side(left, right, tolerance)
    return make_subsets(sides, ', '.join(numbers), tolerance)


def subsets_from_boxes(
    folder: str | Path, class_name: str = 'pedestrian', tolerance: float = 0.0
) -> dict[str, list[str]]:
    """Split Cityscapes images by the half that holds all CityPersons boxes of a class (Sec. 4.2.3).

    A box counts by its area. Returns names under 'left' and 'right', as the `ann_file` of `CityscapesDataset` lists
    them; ValueError if one is empty.

    Args:
        folder: Folder of one split of the files that Cityscapes offers, such as `gtBboxCityPersons/val`, with
            `<city>/<city>_*_gtBboxCityPersons.json`.
        class_name: Label of the boxes: pedestrian, rider, sitting person, ...
        tolerance: Share of the boxes' area that may lie in the other half, in [0, 0.5).
    """
    files = sorted(Path(folder).rglob(f'*{_CITYPERSONS_SUFFIX}'))
    if not files:
        raise FileNotFoundError(f'no *{_CITYPERSONS_SUFFIX} below {folder}: unpack gtBboxCityPersons_trainval there')
    sides: dict[str, str | None] = {}
    known: set[str] = set()
    for file in files:
        try:
            annotation = json.loads(file.read_text(encoding='utf-8'))
            boxes = [(item['label'], [float(value) for value in item['bbox']]) for item in annotation['objects']]
            areas = box_halves([box for label, box in boxes if label == class_name], float(annotation['imgWidth']))
        except (ValueError, KeyError, TypeError) as error:
            reason = f'{type(error).__name__}: {error}'
            raise ValueError(f'{file} is not a CityPersons annotation with imgWidth and objects ({reason})') from error
        known |= {label for label, _ in boxes}
        sides[file.relative_to(folder).as_posix().removesuffix(_CITYPERSONS_SUFFIX)] = side(*areas, tolerance)
    if class_name not in known:
        raise ValueError(f'class {class_name!r} is unknown; the boxes are of {", ".join(sorted(known))}')
    return make_subsets(sides, class_name, tolerance)


def write_list(names: Sequence[str], path: str | Path) -> None:
    """Write names as mmseg's `ann_file` reads them, one per line."""
    atomic_write(path, ''.join(f'{name}\n' for name in names))


def listed_positions(data_set: Any, path: str) -> list[int]:
    """Positions of the images that a list of `mmposenc region-lists` names; ValueError if one is not there."""
    listed = set(filter(None, map(str.strip, Path(path).read_text(encoding='utf-8').splitlines())))
    names = [image_name(data_set, data_set.get_data_info(position)) for position in range(len(data_set))]
    if unknown := listed - set(names):
        raise ValueError(f'{path} must list images of {type(data_set).__name__} such as {names[0]}, got {min(unknown)}')
    return [position for position, name in enumerate(names) if name in listed]


def image_name(data_set: Any, info: Mapping[str, Any]) -> str:
    """Path of an image below the data set's folder of images, without suffix."""
    if 'img_path' not in info:
        raise ValueError(f'{type(data_set).__name__} has no files, so its images have no names')
    name = osp.relpath(info['img_path'], image_folder(data_set) or '.')
    suffix = getattr(data_set, 'img_suffix', '')
    return name.removesuffix(suffix) if suffix else osp.splitext(name)[0]


def image_folder(data_set: Any) -> str:
    """The folder of a data set's images; '' if it has none."""
    prefix = getattr(data_set, 'data_prefix', None) or {}
    return prefix if isinstance(prefix, str) else prefix.get('img_path', prefix.get('img')) or ''


def class_numbers(dataset: BaseDataset, class_name: str | Sequence[str]) -> dict[str, int]:
    """The numbers of one or several classes of a data set, by name."""
    classes = list(dataset.metainfo['classes'])
    numbers = {}
    for name in [class_name] if isinstance(class_name, str) else class_name:
        if name not in classes:
            raise ValueError(f'class {name!r} is unknown; {type(dataset).__name__} has {", ".join(classes)}')
        numbers[name] = classes.index(name)
    return numbers


def make_subsets(sides: Mapping[str, str | None], class_name: str, tolerance: float) -> dict[str, list[str]]:
    """Names under 'left' and 'right', from the half of each; ValueError if a subset is empty."""
    subsets = {half: [name for name, found in sides.items() if found == half] for half in ('left', 'right')}
    if empty := ' or '.join(half for half, names in subsets.items() if not names):
        where = f'the {empty} half; raise the tolerance ({tolerance}) or choose another class'
        raise ValueError(f'no image of {len(sides)} has all of {class_name!r} in {where}')
    return subsets
