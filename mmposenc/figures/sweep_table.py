"""What a sweep has written, read back and checked against its own conditions."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 'mmposenc.sweep/1'
_KEYS = ['layer', 'ranking', 'draw', 'kind', 'start', 'num_channels', 'region']
_CONDITIONS = dict(variants=list, rankings=dict, levels=dict, num_channels=list, window=int, num_random=int)
_OPTIONAL = dict(classes=list, figures=list, regions=dict, versions=dict)
# Of a variant: layer, ranking, draw, kind, start, stop, run.
_VARIANT = (str, str, (int, type(None)), str, int, int, int)


@dataclass(frozen=True)
class SweepPoint:
    """One row of `sweep.csv`: some channels are off, and these are the figures (one point of Fig. 4 or 6).

    Args:
        layer: Where the channels are off.
        ranking: Name of the ranking, or 'random'.
        draw: Number of the random draw; None for a ranking.
        kind: 'top' for the best channels, 'window' for channels of consecutive ranks.
        start: Rank of the first channel that is off.
        num_channels: How many are off.
        region: Where the figures are measured.
        figures: Metrics by name, in %; NaN for the IoU of a class that does not occur.
    """

    layer: str
    ranking: str
    draw: int | None
    kind: str
    start: int
    num_channels: int
    region: str
    figures: Mapping[str, float]


def read_sweep(folder: str | Path) -> tuple[list[SweepPoint], dict[str, Any]]:
    """The rows of `sweep.csv`, and the conditions of `sweep.json` (what Fig. 4 and 6 are drawn from).

    Args:
        folder: Of the sweep.

    Raises:
        FileNotFoundError: If one of the files is not there.
        ValueError: If they are not of a sweep, not whole, or not of the same sweep.
    """
    conditions = _read_conditions(Path(folder, 'sweep.json'))
    file = Path(folder, 'sweep.csv')
    if not file.exists():
        raise FileNotFoundError(f'{file} is not there, so the sweep has not ended: run tools/sweep.py again as before')
    head, *rows = read_table(file)
    metrics = _metrics(conditions)
    _check_head(file, head, [*_KEYS, *metrics])
    regions = list(conditions.get('regions', ['overall']))
    expected = [(*variant[:6], region) for variant in conditions['variants'] for region in regions]
    points: list[SweepPoint] = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(head):
            raise ValueError(f'{file}, line {number}, has {len(row)} of {len(head)} cells: it is cut short. {_AGAIN}')
        point = _read_row(file, number, row, metrics)
        stop = point.start + point.num_channels
        key = (point.layer, point.ranking, point.draw, point.kind, point.start, stop, point.region)
        if len(points) == len(expected) or key != expected[len(points)]:
            raise ValueError(f'{file}, line {number}, is not the row that sweep.json says: {_AGAIN}')
        points.append(point)
    if len(points) < len(expected):
        raise ValueError(f'{file} has {len(points)} of {len(expected)} rows: it is cut short. {_AGAIN}')
    return points, conditions


def read_table(file: Path) -> list[list[str]]:
    """The lines of a table that a sweep has written, as cells (ours).

    Raises:
        ValueError: If the file is no table, or is cut short within a line.
    """
    try:
        text = file.read_bytes().decode()
        if not text.endswith('\n'):
            raise ValueError('it does not end with a whole line: it is empty or cut short')
        return list(csv.reader(io.StringIO(text, newline=''), strict=True))
    except (ValueError, csv.Error) as error:
        raise ValueError(f'{file} is not a whole table: {error}. {_AGAIN}') from None


def sided_rankings(conditions: Mapping[str, Any]) -> dict[str, str]:
    """The rankings of the left half, of everything and of the right half, as far as there are any (Fig. 6).

    Of several with the same region it is the first, as in `region_attack.csv`.
    """
    first: dict[str, str] = {}
    for name, ranking in conditions['rankings'].items():
        first.setdefault(ranking.get('region'), name)
    return {side: first[side] for side in ('left', 'overall', 'right') if side in first}


_AGAIN = 'Run tools/sweep.py again as before, which writes the file anew without counting again'


def _read_conditions(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise FileNotFoundError(f'{file} is not there: give the folder that tools/sweep.py wrote')
    try:
        conditions = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{file} is not JSON ({error}): give the folder that tools/sweep.py wrote') from None
    if not isinstance(conditions, dict) or conditions.get('format') != FORMAT:
        kind = conditions.get('format') if isinstance(conditions, dict) else type(conditions).__name__
        raise ValueError(
            f'{file} must be of the format {FORMAT}, got {kind!s:.60}: give a folder that tools/sweep.py wrote'
        )
    absent = [name for name in _CONDITIONS if name not in conditions]
    if absent or not ('classes' in conditions or 'figures' in conditions):
        raise ValueError(f'{file} lacks {", ".join(absent) or "classes or figures"}: sweep again, into another folder')
    if wrong := _not_of_their_kind(conditions):
        raise ValueError(f'{file} is damaged, its {wrong} is not what a sweep writes: sweep again, into another folder')
    return conditions


def _not_of_their_kind(conditions: Mapping[str, Any]) -> str | None:
    """The first entry that is not what a sweep writes there."""
    for name, kind in {**_CONDITIONS, **_OPTIONAL}.items():
        if name in conditions and type(conditions[name]) is not kind:
            return name
    of_their_kind = dict(
        variants=all(isinstance(row, list) and _fits(row, _VARIANT) for row in conditions['variants']),
        rankings=all(
            isinstance(r, dict) and isinstance(r.get('region', ''), str) for r in conditions['rankings'].values()
        ),
        num_channels=_fits(conditions['num_channels'], [int] * len(conditions['num_channels'])),
        classes=all(isinstance(name, str) for name in conditions.get('classes', ())),
        figures=all(isinstance(name, str) for name in conditions.get('figures', ())),
    )
    return next((name for name, fits in of_their_kind.items() if not fits), None)


def _fits(values: list, kinds: Sequence) -> bool:
    return len(values) == len(kinds) and all(
        isinstance(value, kind) and not isinstance(value, bool) for value, kind in zip(values, kinds, strict=True)
    )


def _metrics(conditions: Mapping[str, Any]) -> list[str]:
    if 'classes' in conditions:
        return ['mIoU', 'aAcc', *(f'IoU/{name}' for name in conditions['classes'])]
    return list(conditions['figures'])


def _check_head(file: Path, head: list[str], expected: list[str]) -> None:
    absent = ', '.join(name for name in expected if name not in head)
    unknown = ', '.join(name for name in head if name not in expected)
    if head != expected:
        raise ValueError(
            f'the columns of {file} must be those of its sweep.json; absent: {absent or "none":.200}, '
            f'unknown: {unknown or "none":.200}{"" if absent or unknown else ", but in another order"}. {_AGAIN}'
        )


def _read_row(file: Path, number: int, row: list[str], metrics: list[str]) -> SweepPoint:
    layer, ranking, draw, kind, start, size, region = row[: len(_KEYS)]
    try:
        figures = dict(zip(metrics, map(float, row[len(_KEYS) :]), strict=True))
        if any(math.isinf(value) for value in figures.values()):
            raise ValueError('a figure is a number of percent or nan')
        return SweepPoint(layer, ranking, int(draw) if draw else None, kind, int(start), int(size), region, figures)
    except ValueError as error:
        raise ValueError(f'{file}, line {number}: {error!s:.200}. {_AGAIN}') from None
