"""tools/plot_sweep.py on a sweep by tools/sweep.py, and on files that are not one."""

import base64
import csv
import re
import shlex
from collections.abc import Callable
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmposenc.cli import common as command_line
from mmposenc.figures.sweep_table import read_sweep

TESTS = Path(__file__).parents[1]
Main = Callable[[list[str]], None]
WRITTEN = ['fig4.csv', 'fig4.png', 'fig4.svg', 'fig6.csv', 'fig6.png', 'fig6.svg', 'report.html']


@pytest.fixture
def plot(tool: Callable[[str], Main]) -> Main:
    return tool('plot_sweep')


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a sweep whose figures are known, with the verdict on the region attack."""
    monkeypatch.syspath_prepend(TESTS / 'visualization')
    from small_sweep import write_attack, write_sweep

    return lambda **options: write_attack(write_sweep(tmp_path / 'sweep', **options))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def pictures(page: Path) -> list[bytes]:
    return [
        base64.b64decode(found) for found in re.findall(r'src="data:image/[a-z+]+;base64,([^"]+)"', page.read_text())
    ]


def fails(main: Callable[[], None], capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as info:
        command_line.run(main)
    assert info.value.code == 1
    return capsys.readouterr().err


def test_a_real_sweep_from_its_rankings_to_the_page(
    tool: Callable[[str], Main], segmenter_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.syspath_prepend(TESTS / 'engine')
    from sweep_commands import save_inputs

    arguments = save_inputs(segmenter_config, 'backbone[-1]', tmp_path)
    tool('sweep')([*arguments, '--num-channels', '0:33:16', '--windows', '16', '--random', '2', '--out', 'sweep'])
    swept = {path.name for path in Path('sweep').iterdir()}
    command = f'python tools/sweep.py {shlex.join(arguments)}'
    tool('plot_sweep')(['sweep', '--out', 'drawn', '--command', command])
    assert capsys.readouterr().out.splitlines()[-1] == 'done: fig4, fig6 as PNG, SVG and CSV; drawn/report.html'
    assert {path.name for path in Path('sweep').iterdir()} == swept
    assert sorted(path.name for path in Path('drawn').iterdir()) == WRITTEN
    points, _ = read_sweep('sweep')
    drawn = [row for name in ('fig4', 'fig6') for row in table(Path('drawn', f'{name}.csv')) if not row['draws']]
    assert len(drawn) == 3 * (3 + 2) + 2 * 3 * 3
    for row in drawn:
        (point,) = [
            point
            for point in points
            if (point.ranking, point.region, point.kind) == (row['ranking'], row['region'], row['kind'])
            and (point.start, point.num_channels) == (int(row['start']), int(row['num_channels']))
        ]
        assert float(row['value']) == point.figures[row['metric']]
    text = unescape(Path('drawn/report.html').read_text())
    assert command in text
    assert "--num-channels 0:33:16 --windows 16 --random 2 --layer 'backbone[-1]' --level 2" in text
    assert 'left half, off at backbone[-1]: the order holds at' in text
    assert 'At how many N the interval excludes 0, at backbone[-1].' in text


def test_figures_points_and_page_beside_the_sweep(plot: Main, small: Callable[..., Path]) -> None:
    folder = small()
    cv2.imwrite('overlay 1.png', np.zeros((4, 4, 3)))
    plot([str(folder), '--overlays', 'overlay 1.png', '--title', 'My <sweep>'])
    assert (
        sorted({path.name for path in folder.iterdir()} - {'sweep.csv', 'sweep.json', 'region_attack.csv'}) == WRITTEN
    )
    embedded = pictures(folder / 'report.html')
    wanted = [folder / 'fig4.svg', folder / 'fig6.svg', Path('overlay 1.png')]
    assert embedded == [path.read_bytes() for path in wanted]
    assert cv2.imread(str(folder / 'fig4.png')).shape[1] >= 900
    (random,) = [r for r in table(folder / 'fig4.csv') if (r['ranking'], r['num_channels']) == ('random', '4')]
    assert [float(random[key]) for key in ('value', 'low', 'high', 'draws')] == [76, 74, 78, 2]
    halves = {(r['region'], r['ranking'], r['num_channels']): float(r['value']) for r in table(folder / 'fig6.csv')}
    assert len(halves) == 2 * 3 * 3
    assert halves['right', 'left', '4'] == 75 - 4 * 3
    page = (folder / 'report.html').read_text()
    assert '<h1>My &lt;sweep&gt;</h1>' in page
    assert 'net &lt;1&gt;' in page
    own = f"python tools/plot_sweep.py {folder} --overlays 'overlay 1.png' --title 'My <sweep>'"
    assert own in unescape(page)
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_a_classifier_has_fig_4_alone(plot: Main, small: Callable[..., Path], capsys) -> None:
    folder = small(classifier=True)
    plot([str(folder)])
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith('no Fig. 6, which needs rankings and regions of left, right and overall')
    assert last == f'done: fig4 as PNG, SVG and CSV; {folder}/report.html'
    assert {row['metric'] for row in table(folder / 'fig4.csv')} == {'top1', 'cons8_zero_ref'}
    assert not (folder / 'fig6.png').exists()


def test_other_metrics_and_regions(plot: Main, small: Callable[..., Path]) -> None:
    folder = small()
    plot([str(folder), '--metrics', 'aAcc', '--region', 'left', '--out', 'out'])
    rows = table(Path('out/fig4.csv'))
    assert {(row['metric'], row['region']) for row in rows} == {('aAcc', 'left')}
    assert float(rows[0]['value']) == 80


@pytest.mark.parametrize(
    'options, arguments, message',
    [
        (dict(num_random=0), [], 'the sweep has no random draws'),
        ({}, ['--metrics', 'miou'], 'metric must be one of mIoU, aAcc, IoU/<sky>, got miou'),
        ({}, ['--region', 'top'], 'region must be one of left, right, overall, got top'),
        ({}, ['--overlays', 'none.png'], 'picture none.png is not there'),
    ],
)
def test_a_mistake_ends_with_one_line_and_no_file(
    plot: Main, small: Callable[..., Path], capsys, options: dict, arguments: list[str], message: str
) -> None:
    folder = small(**options)
    error = fails(lambda: plot([str(folder), *arguments, '--out', 'out']), capsys)
    assert error.startswith(f'error: {message}')
    assert error.count('\n') == 1
    assert not Path('out').exists()


def test_a_folder_that_is_no_sweep(plot: Main, tmp_path: Path, capsys) -> None:
    assert fails(lambda: plot(['nowhere']), capsys).startswith(
        'error: nowhere/sweep.json is not there: give the folder'
    )


def test_a_picture_or_a_table_that_is_none_leaves_no_file(plot: Main, small: Callable[..., Path], capsys) -> None:
    folder = small()
    Path('a.gif').write_bytes(b'GIF89a')
    assert 'a.gif must be PNG or SVG' in fails(
        lambda: plot([str(folder), '--overlays', 'a.gif', '--out', 'out']), capsys
    )
    (folder / 'region_attack.csv').write_text('layer,region\n')
    assert 'region_attack.csv must hold rows of' in fails(lambda: plot([str(folder), '--out', 'out']), capsys)
    assert not Path('out').exists()
