"""The files of a sweep whose figures are known by heart: each channel that is off costs a fixed number of points."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# mIoU with no channel off, and points that a channel costs; windows further down cost a point less by rank.
WHOLE = {'left': 70.0, 'right': 75.0, 'overall': 80.0}
COST = {'overall': 5, 'left': 3, 'right': 1, ('random', 0): 0.5, ('random', 1): 1.5}
NUMBERS = (0, 2, 4)


def write_sweep(
    folder: Path,
    layers: Sequence[str] = ('pool',),
    rankings: Sequence[str] = ('overall', 'left', 'right'),
    numbers: Sequence[int] = NUMBERS,
    window: int = 2,
    num_random: int = 2,
    classifier: bool = False,
) -> Path:
    """Write sweep.csv and sweep.json as tools/sweep.py does; aAcc (Cons.8) is 10 above mIoU (Top-1)."""
    variants = []
    for layer in layers:
        orders = [(name, None) for name in rankings] + [('random', draw) for draw in range(num_random)]
        for name, draw in orders:
            slices = [('top', 0, n) for n in numbers]
            slices += (
                [('window', start, start + window) for start in range(0, 4, window)] if window and draw is None else []
            )
            variants += [[layer, name, draw, kind, start, stop, len(variants)] for kind, start, stop in slices]
    regions = ['overall'] if classifier else list(WHOLE)
    figures = ['top1', 'cons8_zero_ref'] if classifier else ['mIoU', 'aAcc', 'IoU/<sky>']
    rows = []
    for layer, name, draw, kind, start, stop, _ in variants:
        for region in regions:
            cost = COST[name if draw is None else (name, draw)] - (start if kind == 'window' else 0)
            value = WHOLE[region] - (stop - start) * cost
            values = [f'{value:.6f}', f'{value + 10:.6f}', 'nan'][: len(figures)]
            rows.append([layer, name, '' if draw is None else draw, kind, start, stop - start, region, *values])
    conditions: dict[str, Any] = dict(
        format='mmposenc.sweep/1',
        versions=dict(mmposenc='0.1'),
        model='net <1>',
        checkpoint_sha256='ab12',
        data_set='Scenes val',
        num_images=3,
        levels=dict.fromkeys(layers, 2),
        rankings={name: dict(region=name, pair='flip_image', statistic='abs', num_images=3) for name in rankings},
        num_channels=list(numbers),
        window=window,
        num_random=num_random,
        variants=variants,
    )
    if classifier:
        conditions['figures'] = figures
    else:
        conditions |= dict(classes=['<sky>'], regions={region: [0, 0, 1, 1] for region in regions})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'sweep.json').write_text(json.dumps(conditions))
    with (folder / 'sweep.csv').open('w', newline='') as file:
        head = ['layer', 'ranking', 'draw', 'kind', 'start', 'num_channels', 'region', *figures]
        csv.writer(file, lineterminator='\n').writerows([head, *rows])
    return folder


def write_attack(folder: Path) -> Path:
    """Write region_attack.csv: in the left half the order holds at one of two N."""
    rows = [
        ['pool', 'left', 2, 6.0, 4.0, 2.0, 2.0, 0.5, 3.5, 2.0, 1.0, 3.0, 'true', 'true', '99.0'],
        ['pool', 'left', 4, 6.0, 7.0, 2.0, -1.0, -2.0, 0.5, 5.0, 4.0, 6.0, 'false', 'false', '3.2'],
    ]
    gaps = [f'{gap}{end}' for gap in ('own_minus_overall', 'overall_minus_other') for end in ('', '_low', '_high')]
    head = ['layer', 'region', 'num_channels', 'harm_own', 'harm_overall', 'harm_other', *gaps]
    with (folder / 'region_attack.csv').open('w', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([[*head, 'holds', 'certain', 'share'], *rows])
    return folder


def write_control(folder: Path) -> Path:
    """Write random_control.csv: overall harms more than random channels at both N, right less at the second."""
    rows = [
        ['pool', region, ranking, number, harm, 1.0, harm - 1, harm - 1.5, harm - 0.5]
        for region, share in (('overall', 1.0), ('left', 0.5))
        for number in (2, 4)
        for ranking, harm in (('overall', share * 5.0), ('right', share * (4 - number)))
    ]
    head = ['layer', 'region', 'ranking', 'num_channels', 'harm', 'harm_random', 'excess', 'excess_low', 'excess_high']
    with (folder / 'random_control.csv').open('w', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([head, *rows])
    return folder
