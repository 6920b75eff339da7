"""The tables of the status page have every figure of the paper."""

import re
from importlib import import_module
from pathlib import Path

from mmposenc.cli.experiments import EXPERIMENTS


def test_the_status_tables_have_each_cell_of_the_paper_beside_ours(monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / 'docs')
    render_status = import_module('render_status')
    text = render_status.status_table()
    tables = {part.splitlines()[0]: part.strip().splitlines()[1:] for part in text.split('### ')[1:]}
    assert list(tables) == [title for _, title, *_ in render_status.TABLES]
    items = {cell.item for experiment in EXPERIMENTS for cell in experiment.cells}
    assert len(re.findall(r'\| `[\w-]+` \| [\d,]+ / [\d,]+ \|', text)) == len(items)
    for lines in tables.values():
        assert len({line.count('|') for line in lines if line.startswith('|')}) == 1
    first = tables['Table 1: locating or classifying a patch']
    assert first[1] == 'Accuracy in %, on grids of 3x3 / 5x5 / 7x7 cells.'
    assert [line.split(' | ')[0] for line in first[5:8]] == [
        *('| location, zeros, PermuteNet', '| location, zeros, GAPNet', '| location, reflect, GAPNet')
    ]
    assert first[-1].startswith('| location, zeros, SumNet |'), 'what is open and not of the paper comes last'
    row = first[5]
    assert '| 78.8 / 37.8 / 21.4 | 77.78 / - / - | ' in row
    assert 'digits: 81.48 ± 6.41 / 31.55 ± 0.40 / 17.24 ± 2.44 (n = 3)<br>narrow, 3x3: 70.74 ± 7.05 (n = 3) |' in row
    assert '| `table1-location-zeros-permutenet` | 15 / 1,734 |' in row
    row = next(line for line in tables['Table 2: CIFAR-100'] if line.startswith('| AugShift, lambda = 10'))
    assert '| 72.6 / 85.6 | 77.80 / 86.61 |' in row
    assert 'CamVid, half size: 3.93 / 2.59 / 0.025 / - |' in text
