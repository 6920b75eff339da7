"""Tables of augshift_position.md, atlas.md and table2.md, from what `mmposenc reproduce` has written."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from scipy import stats

RESULTS = Path(__file__).parent / 'results' / 'reproduce'
METHODS = {
    'baseline': 'one view',
    'lambda0': 'two views, lambda = 0',
    **{f'lambda{n}': f'AugShift, lambda = {n}' for n in (10, 30, 100)},
    'relative1': 'relative MSE, lambda = 1',
    'relative3': 'relative MSE, lambda = 3',
}
FLIPS = {'baseline': 'horizontal', 'noflip': 'none', 'verticalflip': 'vertical'}
# A figure of a run from its figures by name, and the digits to show.
Column = tuple[Callable[[dict[str, float]], float], int]


def runs(name: str, group: str = 'position-cifar10') -> dict[int, dict[str, float]]:
    """The figures by seed; those of a probe are named PLACE/LAYER/COLUMN."""
    records = [json.loads(file.read_text()) for file in sorted(RESULTS.glob(f'{group}-{name}-seed*.json'))]
    short = re.compile(r'probe/mmposenc::[\w-]+\.py/(?:backbone\.|head\.)(\w+)/none/')
    return {
        record['seed']: {short.sub(r'\1/', key): value for key, value in record['figures'].items()}
        for record in records
    }


def total(*keys: str, digits: int = 1) -> Column:
    return lambda figures: sum(figures[key] for key in keys), digits


def difference(one: str, other: str, digits: int) -> Column:
    return lambda figures: figures[one] - figures[other], digits


def root(key: str, digits: int) -> Column:
    return lambda figures: figures[key] ** 0.5, digits


def means(names: dict[str, str], columns: dict[str, Column], group: str = 'position-cifar10') -> list[list[str]]:
    """A row for each kind of run that there is: mean ± deviation over seeds."""
    rows = []
    for name, label in names.items():
        if found := runs(name, group).values():
            cells = []
            for of, digits in columns.values():
                values = [of(run) for run in found]
                deviation = f' ± {stdev(values):.{digits}f}' if len(values) > 1 else ''
                cells.append(f'{mean(values):.{digits}f}{deviation}')
            rows.append([label, str(len(found)), *cells])
    return rows


def interval(values: list[float], digits: int, sign: str = '') -> str:
    """The mean over seeds with its 95% interval."""
    low, high = stats.t.interval(0.95, len(values) - 1, mean(values), stats.sem(values))
    return f'{mean(values):{sign}.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]'


def change(label: str, new: str, old: str, columns: dict[str, Column], group: str = 'position-cifar10') -> list[str]:
    """A row of the differences between runs of the same seed."""
    after, before = runs(new, group), runs(old, group)
    seeds = after.keys() & before.keys()
    cells = [
        interval([of(after[seed]) - of(before[seed]) for seed in seeds], digits, '+') for of, digits in columns.values()
    ]
    return [label, str(len(seeds)), *cells]


def table(columns: dict[str, Column]) -> list[list[str]]:
    """A row for each method, and what the losses with several seeds change."""
    losses = {name: label for name, label in METHODS.items() if 'MSE' in label or 'AugShift' in label}
    changes = [
        change(f'{label}, against lambda = 0', name, 'lambda0', columns)
        for name, label in losses.items()
        if len(runs(name)) > 1
    ]
    return [['method', 'seeds', *columns], *means(METHODS, columns), *changes]


def positions_augshift() -> list[list[str]]:
    """Position in the pooled features and in the logits, beside accuracy and consistency (Sec. 4.1)."""
    columns = {'Top-1': total('accuracy/top1'), 'Cons.8': total('consistency/cons8_zero_ref')}
    for place, px in (('near', 8), ('far', 32)):
        for part in ('position', 'interaction'):
            columns[f'{part}, {px} px'] = total(f'{place}/layer4/{part}', digits=2)
    columns['logits: both, 8 px'] = total('near/fc/position', 'near/fc/interaction', digits=2)
    return table(columns)


def positions_views() -> list[list[str]]:
    """The relative distance between an image and its shifted copy, cut off by the shift and whole."""
    names = [(figure, views) for figure in ('features', 'logits', 'consistency') for views in ('cut', 'whole')]
    return table({f'{figure}, {views}': total(f'{views}/{figure}') for figure, views in names})


def positions_readouts() -> list[list[str]]:
    """How large features and logits are, and how often a read-out finds the cell."""
    columns = {'spread of features': root('near/layer4/variance', 3), 'spread of logits': root('near/fc/variance', 2)}
    for readout, place, px in (('order', 'near', 8), ('order', 'far', 32), ('sorted', 'far', 32), ('sum', 'far', 32)):
        columns[f'{readout}, {px} px'] = total(f'{place}/layer4/{readout}')
    return table(columns)


def positions_axes() -> list[list[str]]:
    """Position along either axis, for moves of 32 px, by the flips in training."""
    columns = {'Top-1': total('accuracy/top1')}
    for stage in (3, 4):
        vertical, horizontal = (f'far/layer{stage}/{axis}' for axis in ('top_bottom', 'left_right'))
        columns[f'stage {stage}, top-bottom'] = total(vertical, digits=2)
        columns[f'stage {stage}, left-right'] = total(horizontal, digits=2)
        columns[f'stage {stage}, difference'] = difference(vertical, horizontal, 2)
    rows = [
        [label, *(interval([of(run) for run in runs(name).values()], digits) for of, digits in columns.values())]
        for name, label in FLIPS.items()
    ]
    changes = [change('none against horizontal', 'noflip', 'baseline', columns)]
    changes += [change('vertical against horizontal', 'verticalflip', 'baseline', columns)]
    return [['flips in training', *columns], *rows, *([label, *cells] for label, _, *cells in changes)]


def shifted_digits() -> list[list[str]]:
    """Consistency on digits, where the crop decides (Sec. 4.1)."""
    names = {'baseline-nocrop': 'one view, no crop', 'baseline': 'one view', 'augshift': 'AugShift, lambda = 1'}
    columns = {'Top-1': total('accuracy/top1'), 'Cons.8': total('consistency/cons8_zero_ref')}
    gain = change('AugShift against one view', 'augshift', 'baseline', columns, 'digits-shift')
    return [['method', 'seeds', *columns], *means(names, columns, 'digits-shift'), gain]


def narrow(group: str, names: dict[str, str], pairs: dict[str, tuple[str, str]]) -> list[list[str]]:
    """Table 2 with narrow networks, and what crop, second view and loss change (Sec. 4.1)."""
    protocols = (f'{how}_{pair}' for how in ('zero', 'roll', 'reflect') for pair in ('ref', 'pair'))
    columns = {'Top-1': total('accuracy/top1')}
    columns |= {protocol: total(f'consistency/cons8_{protocol}') for protocol in protocols}
    columns['zero_ref among correct'] = total('consistency/cons8_zero_ref_correct')
    several = {label: pair for label, pair in pairs.items() if all(len(runs(name, group)) > 1 for name in pair)}
    changes = [change(label, *pair, columns, group) for label, pair in several.items()]
    return [['method', 'seeds', *columns], *means(names, columns, group), *changes]


def narrow_cifar10() -> list[list[str]]:
    names = {name: label for name, label in METHODS.items() if 'relative' not in label}
    cropped = {'baseline-crop4': 'one view, crop within 4 px', 'lambda10-crop4': 'AugShift, lambda = 10, within 4 px'}
    pairs = {'two views against one': ('lambda0', 'baseline')}
    pairs |= {f'lambda = {n} against 0': (f'lambda{n}', 'lambda0') for n in (10, 30, 100)}
    pairs |= {'one view: crop within 8 px against 4': ('baseline', 'baseline-crop4')}
    pairs |= {'lambda = 10: crop within 8 px against 4': ('lambda10', 'lambda10-crop4')}
    return narrow('position-cifar10', names | cropped, pairs)


def narrow_cifar100() -> list[list[str]]:
    pairs = {'with the crop against without': ('baseline', 'nocrop'), 'two views against one': ('lambda0', 'baseline')}
    losses = {10: 'augshift', 30: 'lambda30', 100: 'lambda100'}
    pairs |= {f'lambda = {n} against 0': (name, 'lambda0') for n, name in losses.items()}
    names = {'nocrop': 'one view, no crop', 'baseline': 'one view', 'lambda0': METHODS['lambda0']}
    names |= {name: METHODS[f'lambda{n}'] for n, name in losses.items()}
    return narrow('narrow-cifar100', names, pairs)


TABLES = (
    shifted_digits,
    narrow_cifar10,
    narrow_cifar100,
    positions_augshift,
    positions_views,
    positions_readouts,
    positions_axes,
)
