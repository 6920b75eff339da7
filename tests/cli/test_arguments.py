"""The command line before anything is imported: help, mistakes, and what a subcommand accepts."""

import re
import runpy
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from mmposenc.cli import COMMANDS, call, main
from mmposenc.cli.rank import PAIRS, STATISTICS
from mmposenc.cli.sweep import numbers
from mmposenc.ranking import PAIR_NAMES
from mmposenc.ranking import STATISTICS as NAMES

ROOT = Path(__file__).parents[2]
DOORS = {name: name for name in ('train', 'test', 'sweep')}
DOORS |= {'rank_channels': 'rank', 'compare_rankings': 'compare', 'draw_ablation': 'draw overlays'}
DOORS |= {'draw_grid': 'draw grids', 'plot_sweep': 'report', 'make_region_lists': 'region-lists'}
DOORS |= {'prepare_data': 'prepare-data', 'run_table1': 'reproduce'}


def ended(argv: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as info:
        call(argv)
    return info.value.code


@pytest.mark.parametrize('name', COMMANDS)
def test_each_subcommand_has_help_with_two_examples(name: str, capsys: pytest.CaptureFixture) -> None:
    assert ended([name, '--help']) == 0
    text = capsys.readouterr().out
    assert text.startswith(f'usage: mmposenc {name} ')
    assert text.count(f'mmposenc {name}') > 2, 'the usage and two examples'
    assert '--traceback' in text or name == 'draw'


def test_the_overview(capsys: pytest.CaptureFixture) -> None:
    call([])
    text = capsys.readouterr().out
    assert all(f'  {name} ' in text for name in COMMANDS)
    assert ended(['no-such-command']) == 2
    assert 'error: no subcommand no-such-command' in capsys.readouterr().err


def test_help_mistakes_and_the_listing_import_neither_torch_nor_openmmlab() -> None:
    code = f"""if True:
        import sys
        from contextlib import suppress
        from mmposenc.cli import call
        for name in {list(COMMANDS)}:
            for argv in ([name, '--help'], [name, '--no-such-option']):
                with suppress(SystemExit):
                    call(argv)
        call(['reproduce', '--list'])
        print('imported:', *{{'torch', 'mmengine', 'numpy', 'matplotlib', 'rich'}} & sys.modules.keys())
    """
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == 'imported:', done.stderr
    assert done.stderr.count('error: ') == len(COMMANDS)


@pytest.mark.parametrize('door', DOORS)
def test_a_file_of_tools_is_a_door_to_a_subcommand(door: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, 'argv', [door, '--help'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'tools' / f'{door}.py'), run_name='__main__')
    text = capsys.readouterr().out
    ended([*DOORS[door].split(), '--help'])
    assert capsys.readouterr().out == text


def test_the_choices_are_those_of_the_ranking() -> None:
    assert (PAIRS, STATISTICS) == (PAIR_NAMES, NAMES)


def test_numbers_and_ranges() -> None:
    assert numbers('0:2000:500') == [0, 500, 1000, 1500]
    assert numbers('10,0:201:100,5,0:2') == [10, 0, 100, 200, 5, 0, 1]


@pytest.mark.parametrize('text', ['', 'a', '1:', '0:10:0', '1,,2', '1:2:3:4', '5:5', '1.5', '0:9000000000'])
def test_what_is_not_a_number(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=rf'{re.escape(repr(text))}$'):
        numbers(text)


@pytest.mark.parametrize(
    'argv, message',
    [
        (['train'], 'the following arguments are required: config'),
        (['train', 'a.py', '--cfg-options', 'model'], '--cfg-options: takes KEY=VALUE, got model'),
        (['train', 'a.py', '--cfg-options', ' =5'], '--cfg-options: takes KEY=VALUE, got  =5'),
        (['test', 'a.py'], 'the following arguments are required: checkpoint'),
        (['test', 'a.py', 'b.pth', '--am'], 'unrecognized arguments: --am'),
        (['rank', 'a.py', 'b.pth', '--pair', 'flip'], "invalid choice: 'flip'"),
        (['sweep', 'a.py', 'b.pth', '--rankings', 'r.json', '--num-channels', '5:5'], 'must be integers and ranges'),
        (['draw', 'pictures'], "invalid choice: 'pictures'"),
        (['region-lists', '--out-dir', 'a'], 'one of the arguments config --citypersons is required'),
        (['prepare-data', '--dataset', 'mnist'], "invalid choice: 'mnist'"),
    ],
)
def test_a_wrong_argument_ends_with_status_2(argv: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert ended(argv) == 2
    assert message in capsys.readouterr().err


def test_any_other_mistake_is_one_line_with_status_1_or_a_traceback(capsys, monkeypatch, hosts_unchanged) -> None:
    monkeypatch.setattr(sys, 'argv', ['mmposenc', 'train', 'absent.py'])
    with pytest.raises(SystemExit) as info:
        main()
    assert info.value.code == 1
    assert re.fullmatch('error: config absent.py cannot be read.*\n', capsys.readouterr().err)
    sys.argv.append('--traceback')
    with pytest.raises(OSError, match='cannot be read'):
        main()
