"""What a sweep is told to do: `--num-channels` and `SweepPlan` give the very points that were asked for, or refuse."""

import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from hostile_cases import check_sentence, end_of_tool, hostile, load_tool, outcome
from hostile_values import JSON, TEXTS
from hypothesis import example
from hypothesis import strategies as st

from mmposenc.channels.sweep import SweepPlan
from mmposenc.ranking import Ranking

SWEEP = load_tool('sweep')
INTEGERS = st.integers(-3, 40) | st.sampled_from([10**9, 10**12, 2**63, -(10**30), 10**4000])
PARTS = st.lists(INTEGERS.filter(lambda number: abs(number) < 10**4000).map(str) | TEXTS, min_size=1, max_size=4)
SPECS = st.lists(PARTS.map(':'.join), min_size=1, max_size=3).map(','.join) | st.text('0123456789:,-+_ .e', max_size=14)


def members(spec: str, most: int) -> list[int] | None:
    """What a spec names, by counting instead of `range`; None if it is none or names more than `most` numbers."""
    named: list[int] = []
    for part in spec.split(','):
        if len(part) > 4000:
            return None  # more digits than Python turns into an integer
        if not all(re.fullmatch(r'\s*[-+]?\d+(_\d+)*\s*', bound) for bound in part.split(':')):
            return None
        bounds = [int(bound) for bound in part.split(':')]
        if len(bounds) > 3 or (len(bounds) == 3 and bounds[2] == 0):
            return None
        if len(bounds) == 1:
            named.append(bounds[0])
            continue
        number, end, step = [*bounds, 1][:3]
        while (number < end if step > 0 else number > end) and len(named) <= most:
            named.append(number)
            number += step
    return named if 0 < len(named) <= most else None


@hostile(400, spec=SPECS)
@example(spec='0:2000:100')
@example(spec='0:1000000000000')
@example(spec='0:1000000,0:1000000')
@example(spec='5:0:-1')
@example(spec='9' * 5000)
def test_num_channels_on_the_command_line(spec: str) -> None:
    expected = members(spec, 1_000_000)
    try:
        assert SWEEP.numbers(spec) == expected
    except ArgumentTypeError as error:
        assert expected is None, spec
        check_sentence(str(error))


@hostile(
    150,
    value=TEXTS.filter(str.isprintable) | INTEGERS.filter(lambda number: abs(number) < 10**4000).map(str),
    data=st.data(),
)
def test_the_other_numbers_of_the_command_line(
    hosts_unchanged: None, capsys: Any, tmp_path: Path, value: str, data: Any
) -> None:
    """Refused by the parser, by the plan or, for lack of the config, at the next step; never by a traceback."""
    option = data.draw(st.sampled_from(['--num-channels', '--windows', '--random', '--memory-budget', '--max-shift']))
    arguments = ['absent.py', 'absent.pth', '--rankings', 'a.json', f'{option}={value}']
    status, error = end_of_tool('sweep', arguments, capsys)
    assert status in (1, 2)
    assert 'absent.py' in error if status == 1 else option in error
    assert not list(tmp_path.rglob('*.csv'))


def ranking(total: int) -> Ranking:
    return Ranking(layer='a', statistic='abs', pair='flip_image', num_images=1, scores=list(range(total)))


@hostile(
    300,
    total=st.integers(1, 12),
    layers=st.lists(st.sampled_from(['a', 'a.b', 'c[-1]']), min_size=1, max_size=2, unique=True),
    numbers=st.lists(st.integers(0, 13), max_size=4),
    window=st.integers(0, 13),
    draws=st.integers(0, 3),
    names=st.lists(st.sampled_from(['one', 'two', 'random']), min_size=1, max_size=2, unique=True),
)
def test_an_accepted_plan_holds_every_point_once_and_no_other(
    total: int, layers: list[str], numbers: list[int], window: int, draws: int, names: list[str]
) -> None:
    rankings = {name: ranking(total) for name in names}
    plan, message = outcome(lambda: SweepPlan(rankings, layers, numbers, window, draws))
    possible = max([window, *numbers]) <= total and bool(numbers or window) and not (draws and 'random' in names)
    assert (message is None) == possible, message
    if message is not None:
        return
    points = [
        (layer, name, None, 0, number) for layer in layers for name in names for number in sorted(set(numbers))
    ] + [(layer, 'random', draw, 0, n) for layer in layers for draw in range(draws) for n in sorted(set(numbers))]
    tops = [(v.layer, v.ranking, v.draw, v.start, v.stop) for v in plan.variants if v.kind == 'top']
    assert sorted(tops, key=str) == sorted(points, key=str)
    windows = [(v.layer, v.ranking, v.start, v.stop) for v in plan.variants if v.kind == 'window']
    whole = [start for start in range(total) if window and start % window == 0 and start + window <= total]
    assert sorted(windows) == sorted((at, name, s, s + window) for at in layers for name in names for s in whole)
    assert all(v.draw is None for v in plan.variants if v.kind == 'window')
    # A run is a set of channels at a layer: run 0 is none of them, and what a group holds for a run is the slice.
    slices = {run: part for group in plan.groups for run, part in zip(group.runs, group.slices, strict=True)}
    assert sorted(slices) == list(range(1, plan.num_runs))
    assert all((v.start, v.stop) == slices.get(v.run, (0, 0)) for v in plan.variants)


@hostile(200, arguments=st.dictionaries(st.sampled_from(['layers', 'num_channels', 'window', 'num_random']), JSON))
@example(arguments=dict(num_random=10**9, num_channels=[1]))
@example(arguments=dict(num_random=10**4000, num_channels=[1]))
@example(arguments=dict(num_channels=[10**4000]))
@example(arguments=dict(window=float('nan')))
@example(arguments=dict(layers=[['a']]))
@example(arguments=dict(layers=['a[' + '9' * 5000 + ']']))
def test_any_value_in_a_plan(arguments: dict) -> None:
    plan, message = outcome(lambda: SweepPlan({'one': ranking(4)}, **{'layers': ['a'], 'window': 2, **arguments}))
    if message is not None:
        assert re.search('layers?|num_channels|window|num_random|channels', message)
    else:
        assert {variant.layer for variant in plan.variants} == set(arguments.get('layers', ['a']))
        assert plan.num_random == arguments.get('num_random', 0)
        assert plan.num_channels == sorted(set(arguments.get('num_channels', ())))
