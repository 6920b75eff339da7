"""The parts of a report that say what a sweep's intervals decide."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmposenc.figures.report import Table
from mmposenc.figures.sweep_table import read_table

_MOST_ROWS = 9
_CONTROL = ['layer', 'region', 'ranking', 'num_channels', 'harm', 'harm_random']
_CONTROL += ['excess', 'excess_low', 'excess_high']
_ATTACK = ['layer', 'region', 'num_channels', 'harm_own', 'harm_overall', 'harm_other', 'own_minus_overall']
_ATTACK += ['own_minus_overall_low', 'own_minus_overall_high', 'overall_minus_other', 'overall_minus_other_low']
_ATTACK += ['overall_minus_other_high', 'holds', 'certain', 'share']


def describe_control(folder: str | Path, region: str = 'overall') -> list[str | Table]:
    """Whether each ranking harms more than random channels, with intervals (Fig. 4, top row); empty if not measured.

    Args:
        folder: Of the sweep.
        region: Where the harm is measured.

    Raises:
        ValueError: If `random_control.csv` has other columns, or is cut short.
    """
    file = Path(folder, 'random_control.csv')
    found = [row for row in _read_verdicts(file, _CONTROL, 4, 9) if row['region'] == region]
    if not found:
        return []
    cells = {(row['layer'], row['ranking'], row['num_channels']): row for row in found}
    layers, rankings, numbers = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    if len(cells) < len(layers) * len(rankings) * len(numbers):
        raise ValueError(f'{file} must hold every ranking and N of a layer: run tools/sweep.py again')
    parts: list[str | Table] = [
        'Excess is the harm (loss of mIoU in points) of the top N minus the mean harm of N random channels. Intervals '
        'are 95%, over images and random draws drawn again.'
    ]
    places = sorted({round(i * (len(numbers) - 1) / (_MOST_ROWS - 1)) for i in range(_MOST_ROWS)})
    for layer in layers:
        table = [
            [number, _points(cells[layer, rankings[0], number]['harm_random'])]
            + [_interval(cells[layer, ranking, number], 'excess') for ranking in rankings]
            for number in (numbers[place] for place in places)
        ]
        parts.append(Table(['N', 'harm of random', *rankings], table, f'Excess in {region}, channels off at {layer}.'))
        verdicts = []
        for ranking in rankings:
            own = [cells[layer, ranking, number] for number in numbers]
            more = sum(float(row['excess_low']) > 0 for row in own)
            less = sum(float(row['excess_high']) < 0 for row in own)
            verdicts.append([ranking, more, less, len(numbers)])
        titles = ['ranking', 'harms more', 'harms less', 'values of N']
        parts.append(Table(titles, verdicts, f'At how many N the interval excludes 0, at {layer}.'))
    return parts


def describe_attack(folder: str | Path) -> list[str | Table]:
    """Whether left > overall > right holds at each N, with intervals over images (Fig. 6); empty if not measured.

    Raises:
        ValueError: If `region_attack.csv` has other columns, or is cut short.
    """
    rows = _read_verdicts(Path(folder, 'region_attack.csv'), _ATTACK, 3, 12)
    if not rows:
        return []
    parts: list[str | Table] = [
        'Harm is the loss of mIoU in points. The claim: channels of the half itself harm it more than overall ones, '
        'and those more than channels of the other half. Intervals are 95%, over images drawn again; share says in how '
        'many percent of these draws the order holds.'
    ]
    for layer, region in dict.fromkeys((row['layer'], row['region']) for row in rows):
        own = [row for row in rows if (row['layer'], row['region']) == (layer, region)]
        held, certain = (sum(row[name] == 'true' for row in own) for name in ('holds', 'certain'))
        table = [
            [
                row['num_channels'],
                *(_points(row[name]) for name in ('harm_own', 'harm_overall', 'harm_other')),
                *(_interval(row, name) for name in ('own_minus_overall', 'overall_minus_other')),
                'yes' if row['holds'] == 'true' else 'no',
                row['share'],
            ]
            for row in own
        ]
        titles = ['N', 'own', 'overall', 'other', 'own - overall', 'overall - other', 'order holds', 'share, %']
        caption = (
            f'{region} half, off at {layer}: the order holds at {held} of {len(own)} values of N, '
            f'at {certain} of them both intervals are above 0.'
        )
        parts.append(Table(titles, table, caption))
    return parts


def _read_verdicts(file: Path, head: list[str], first: int, last: int) -> list[dict[str, str]]:
    """Rows of a table whose columns from first on, before last, are numbers; none if there is no such file."""
    if not file.exists():
        return []
    found, *rows = read_table(file)
    if found != head or not all(len(row) == len(head) and _are_numbers(row[first:last]) for row in rows):
        raise ValueError(f'{file} must hold rows of {", ".join(head)}: run tools/sweep.py again, which writes it anew')
    return [dict(zip(head, row, strict=True)) for row in rows]


def _are_numbers(cells: Sequence[str]) -> bool:
    try:
        return all(abs(float(cell)) < float('inf') or cell == 'nan' for cell in cells)
    except ValueError:
        return False


def _points(text: str) -> str:
    return f'{float(text):.2f}'


def _interval(row: Mapping[str, str], name: str) -> str:
    return f'{_points(row[name])} [{_points(row[f"{name}_low"])}, {_points(row[f"{name}_high"])}]'
