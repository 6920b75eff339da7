"""The tables of CamVid in docs/reproduce/figures4to6.md, from docs/results/camvid.

`python docs/render_camvid.py SWEEP MATCHED` takes over what is shown of two sweeps: one beside random orders of the
channels, and one beside random orders matched in mean activation.
"""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

RESULTS = Path(__file__).parent / 'results' / 'camvid'
RANKINGS = {
    'overall-flip_image-abs': 'Eq. 2 (mirror)',
    'overall-flip_image_flipped_kernels-abs': 'Kernel-Flip\\*',
    'overall-flip_kernels-abs': 'Kernel-Flip\\*\\*',
    'overall-roll_image-abs': 'roll',
    'position': 'position share (probe)',
    'left': 'left, Eq. 3',
    'right': 'right, Eq. 3',
    'activation': 'mean activation',
}


def read() -> dict[str, Any]:
    return json.loads((RESULTS / 'camvid.json').read_text())


def table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((RESULTS / name).read_text().splitlines()))


def camvid_harm() -> list[list[str]]:
    """Harm of every ranking at every N, beside the random orders (Fig. 4, top)."""
    found = read()
    rows = []
    for layer, places in found['layers'].items():
        for name, harm in places['harm'].items():
            rows.append([f'`{layer}`', RANKINGS[name], *map(_points, harm)])
        random = places['random']
        rows.append([f'`{layer}`', 'random, mean', *map(_points, random['mean'])])
        band = zip(random['low'], random['high'], strict=True)
        rows.append(
            [f'`{layer}`', 'random, 95% of orders', *(f'{_points(low)} to {_points(high)}' for low, high in band)]
        )
    return [['layer', 'ranking', *(f'N = {number}' for number in found['num_channels'])], *rows]


def camvid_claims() -> list[list[str]]:
    """Mean harm over N of every ranking, that of its random orders, and the p value (whole image)."""
    found = read()
    rows = []
    for null, kind, place, numbers in (
        ('random', 'random', 'claims.csv', 'num_channels'),
        ('matched', 'similarly active', 'claims_matched.csv', 'matched_num_channels'),
    ):
        of = ', '.join(map(str, found[numbers]))
        for row in table(place):
            if row['region'] == 'overall':
                harm, theirs = (_points(float(row[column])) for column in ('harm', null))
                p = f'{float(row[f"{null}_p"]):.3f}'
                rows.append([f'`{row["layer"]}`', of, RANKINGS[row['ranking']], harm, kind, theirs, p])
    return [['layer', 'N', 'ranking', 'harm', 'compared with', 'their harm', 'p'], *rows]


def camvid_windows() -> list[list[str]]:
    """Rank correlation of a window's place in the ranking and the mIoU without it (Fig. 4, bottom)."""
    found = read()['layers']
    names = list(next(iter(found.values()))['windows'])
    rows = [[f'`{layer}`', *(_points(places['windows'][name]) for name in names)] for layer, places in found.items()]
    return [['layer', *(RANKINGS[name] for name in names)], *rows]


def camvid_halves() -> list[list[str]]:
    """Mean harm of the left, the overall and the right ranking in each half, and the double dissociation (Fig. 6)."""
    rows = []
    for row in table('dissociation.csv'):
        columns = ('harm_left', 'harm_overall', 'harm_right', 'difference')
        numbers = [_points(float(row[column])) for column in columns]
        rows.append([f'`{row["layer"]}`', row['region'], *numbers, f'{float(row["p"]):.3f}'])
    return [['layer', 'half', 'left', 'Eq. 2', 'right', 'D', 'p'], *rows]


def camvid_similar() -> list[list[str]]:
    """Spearman's correlation of the scores, and between two halves of the images."""
    found = read()
    names = list(found['spearman'])
    rows = [
        [RANKINGS[one], *(_points(found['spearman'][one][other]) if i > j else '' for j, other in enumerate(names))]
        for i, one in enumerate(names)
    ]
    halves = ['-' if value is None else _points(value) for value in found['reliability'].values()]
    return [['', *(RANKINGS[name] for name in names)], *rows, ['between odd and even images', *halves]]


TABLES = (camvid_harm, camvid_claims, camvid_windows, camvid_halves, camvid_similar)


def keep(folder: str, matched_folder: str) -> None:
    """Write what is shown of the two sweeps into docs/results."""
    from mmposenc.channels import Sweep

    sweep, matched = Sweep.load(folder), Sweep.load(matched_folder)
    rankings = sweep.plan.rankings
    layers: dict[str, Any] = {}
    for layer in sweep.layers:
        random = sweep.random_harm(layer=layer)
        low, high = np.quantile(random, [0.025, 0.975], axis=0)
        windows = {
            curve.ranking: float(spearmanr(curve.starts, curve.values).statistic)
            for curve in sweep.curves(sweep.harm_of)
            if curve.layer == layer and curve.kind == 'window' and curve.draws is None
        }
        layers[layer] = dict(
            harm={name: sweep.harm(name, layer=layer).tolist() for name in rankings},
            random=dict(mean=random.mean(0).tolist(), low=low.tolist(), high=high.tolist()),
            windows=windows,
        )
    scores = {name: ranking.scores for name, ranking in rankings.items()}
    found = dict(
        num_channels=sweep.plan.num_channels,
        num_random=sweep.plan.num_random,
        matched_num_channels=matched.plan.num_channels,
        num_matched=matched.plan.num_matched,
        ranked_images={name: ranking.num_images for name, ranking in rankings.items()},
        reliability={name: ranking.reliability for name, ranking in rankings.items()},
        test_images=len(sweep.counts),
        whole=sweep.summary(),
        layers=layers,
        spearman={a: {b: float(spearmanr(scores[a], scores[b]).statistic) for b in scores} for a in scores},
    )
    (RESULTS / 'camvid.json').write_text(json.dumps(found, indent=1) + '\n')
    for name in ('claims.csv', 'dissociation.csv', 'fig4.png', 'fig6.png'):
        shutil.copy(Path(folder, name), RESULTS)
    shutil.copy(Path(matched_folder, 'claims.csv'), RESULTS / 'claims_matched.csv')


def _points(value: float) -> str:
    return f'{value:.2f}'


if __name__ == '__main__':
    keep(*sys.argv[1:])
