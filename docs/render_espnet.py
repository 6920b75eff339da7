"""The tables of docs/reproduce/espnet.md, from docs/results/espnet, which examples/espnet_camvid.py has written."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / 'results' / 'espnet'
RANKINGS = {
    'Eq. 2': 'Eq. 2 (mirror)',
    'vertical': 'vertical mirror',
    'roll': 'roll',
    'position': 'position share (probe)',
    'left': 'left, Eq. 3',
    'right': 'right, Eq. 3',
    'code left': 'left, position code',
    'code right': 'right, position code',
    'activation': 'mean activation',
}


def read() -> dict[str, Any]:
    return json.loads((RESULTS / 'espnet.json').read_text())


def espnet_harm() -> list[list[str]]:
    """Harm of every ranking at every N at the encoder's end, beside the random orders (Fig. 4)."""
    found = read()['end']
    random = found['random']['overall']
    rows = [[RANKINGS[name], *map(_points, found['harm']['overall'][name])] for name in _sorted(found)]
    band = [f'{_points(low)} to {_points(high)}' for low, high in zip(random['low'], random['high'], strict=True)]
    head = ['ranking', *(f'N = {number}' for number in found['num_channels'])]
    return [head, *rows, ['random orders, mean', *map(_points, random['mean'])], ['random orders, 95% of them', *band]]


def espnet_claims() -> list[list[str]]:
    """Mean harm over N of every ranking in every sweep, that of its random orders, and the p value (whole image)."""
    rows = []
    for name, found in read().items():
        live, numbers = found['channels'] - found['inert'], ', '.join(map(str, found['num_channels']))
        place = [f'`{found["layer"]}`', f'{live} of {found["channels"]}', numbers]
        null = 'matched orders' if name == 'end-matched' else 'random orders'
        for row in found['claims']:
            if row['region'] == 'overall' and name != 'end-code':
                figures = [_points(row['harm']), null, _points(row['random']), f'{row["p"]:.3f}']
                rows.append([*place, RANKINGS[row['ranking']], *figures])
    return [['layer', 'live channels', 'N', 'ranking', 'harm', 'compared with', 'their harm', 'p'], *rows]


def espnet_halves() -> list[list[str]]:
    """Mean harm of the left, the overall and the right ranking in each half, and the double dissociation (Fig. 6)."""
    rows = []
    for name, found in read().items():
        by = 'position code' if name == 'end-code' else 'pedestrians'
        for row in found['dissociation']:
            columns = ('harm_left', 'harm_overall', 'harm_right', 'difference')
            figures = [_points(row[column]) for column in columns]
            rows.append([f'`{found["layer"]}`', by, row['region'], *figures, f'{row["p"]:.3f}'])
    return [['layer', 'rankings by', 'half', 'left ranking', 'Eq. 2', 'right ranking', 'D', 'p'], *rows]


def espnet_similar() -> list[list[str]]:
    """Spearman's correlation of the scores at the encoder's end, and between two halves of the images."""
    found = read()['end']
    names = _sorted(found)
    rows = [
        [RANKINGS[one], *(_points(found['spearman'][one][other]) if i > j else '' for j, other in enumerate(names))]
        for i, one in enumerate(names)
    ]
    halves = [_points(found['reliability'][name]) for name in names]
    return [['', *(RANKINGS[name] for name in names)], *rows, ['between odd and even images', *halves]]


TABLES = (espnet_harm, espnet_claims, espnet_halves, espnet_similar)


def _sorted(found: dict[str, Any]) -> list[str]:
    return [name for name in RANKINGS if name in found['harm']['overall']]


def _points(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
