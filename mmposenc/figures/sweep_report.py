"""The parts of a report that say what a sweep has found."""

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from mmposenc.figures.report import Table
from mmposenc.figures.sweep_curve import RANDOM, SweepCurve

_MOST_ROWS = 9


def describe_sweep(conditions: Mapping[str, Any]) -> list[Table]:
    """What was swept, of which network, on which data (the setting of Sec. 4.2)."""
    facts = [
        ('network', conditions.get('model')),
        ('SHA-256 of the checkpoint', conditions.get('checkpoint_sha256') or None),
        ('data set', conditions.get('data_set')),
        ('images', conditions.get('num_images')),
        ('layers', ', '.join(f'{layer} (level {level})' for layer, level in conditions['levels'].items())),
        ('random draws', conditions['num_random']),
        ('software', ', '.join(f'{name} {version}' for name, version in conditions.get('versions', {}).items())),
    ]
    rankings = [
        [name, *(ranking.get(key) for key in ('region', 'pair', 'statistic', 'layer', 'num_images'))]
        for name, ranking in conditions['rankings'].items()
    ]
    head = ['ranking', 'region', 'pair', 'statistic', 'made at', 'images']
    shown = [[name, _as_text(value)] for name, value in facts if value not in (None, '')]
    return [Table(['what', 'which'], shown), Table(head, rankings, 'The rankings.')]


def describe_curves(curves: Sequence[SweepCurve]) -> list[str | Table]:
    """The best N channels off, in numbers, and whether that is worse than random channels (Fig. 4, top row)."""
    parts: list[str | Table] = [
        'Brackets hold the smallest and the largest of the random draws. They show how much the choice of channels '
        'matters, not how much the choice of images does.'
    ]
    for metric, layer in dict.fromkeys((curve.metric, curve.layer) for curve in curves if curve.kind == 'top'):
        own = [curve for curve in curves if (curve.metric, curve.layer, curve.kind) == (metric, layer, 'top')]
        sizes = own[0].sizes
        places = sorted({round(i * (len(sizes) - 1) / (_MOST_ROWS - 1)) for i in range(_MOST_ROWS)})
        rows = [[sizes[place], *(_value(curve, place) for curve in own)] for place in places]
        caption = f'{metric} of {own[0].region} in %, the best N channels off at {layer}.'
        parts.append(Table(['N', *(curve.ranking for curve in own)], rows, caption))
        parts += [
            Table(
                ['ranking', 'below every draw', 'above every draw', 'values of N'],
                [[curve.ranking, *_beside(curve, random)] for curve in own if curve is not random],
                f'At how many N above 0 each ranking lies outside of the random draws, at {layer}.',
            )
            for random in own
            if random.ranking == RANDOM
        ]
    return parts


def sweep_command(conditions: Mapping[str, Any]) -> str:
    """The command of a sweep as far as its conditions tell it; they do not know where files lie (ours)."""
    words = ['python', 'tools/sweep.py', 'CONFIG', 'CHECKPOINT', '--rankings']
    words += [f'{name}.json' for name in conditions['rankings']]
    if conditions['num_channels']:
        words += ['--num-channels', _numbers(conditions['num_channels'])]
    for option, key in (('--windows', 'window'), ('--random', 'num_random')):
        if conditions[key]:
            words += [option, str(conditions[key])]
    words += ['--layer', *conditions['levels']]
    levels = {str(level) for level in conditions['levels'].values()}
    if len(levels) == 1:
        words += ['--level', *levels]
    if 'figures' in conditions:
        shifts = re.findall(r'\bcons(\d+)_', ' '.join(conditions['figures']))
        words += ['--max-shift', *(shifts[:1] or ['0'])]
    return shlex.join(words)


def _value(curve: SweepCurve, place: int) -> str:
    value = f'{curve.values[place]:.2f}'
    return f'{value} [{curve.lows[place]:.2f}, {curve.highs[place]:.2f}]' if curve.draws > 1 else value


def _beside(curve: SweepCurve, random: SweepCurve) -> tuple[int, int, int]:
    places = [place for place, size in enumerate(curve.sizes) if size]
    below = sum(curve.values[place] < random.lows[place] for place in places)
    return below, sum(curve.values[place] > random.highs[place] for place in places), len(places)


def _numbers(numbers: Sequence[int]) -> str:
    steps = {after - before for before, after in pairwise(numbers)}
    if len(numbers) > 2 and len(steps) == 1:
        return f'{numbers[0]}:{numbers[-1] + 1}:{steps.pop()}'
    return ','.join(map(str, numbers))


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ', '.join(f'{key}: {_as_text(each)}' for key, each in value.items())
    return str(value)
