"""How tools/sweep.py reads its arguments; what it does is in tests/engine/test_sweep_loop.py."""

import importlib.util
import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import pytest

from mmposenc.cli import common as command_line

ROOT = Path(__file__).parents[2]
Tool = Callable[[str], Callable[[list[str]], None]]


@pytest.fixture(scope='module')
def numbers() -> Callable[[str], list[int]]:
    spec = importlib.util.spec_from_file_location('tool_sweep', ROOT / 'tools' / 'sweep.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.numbers


@pytest.mark.parametrize(
    'text, values',
    [
        ('7', [7]),
        ('0:2000:500', [0, 500, 1000, 1500]),
        ('0:3', [0, 1, 2]),
        ('10,0:201:100,5', [10, 0, 100, 200, 5]),
    ],
)
def test_numbers_and_ranges(numbers: Callable[[str], list[int]], text: str, values: list[int]) -> None:
    assert numbers(text) == values


@pytest.mark.parametrize('text', ['', 'a', '1:', '0:10:0', '1,,2', '1:2:3:4', '5:5', '1.5'])
def test_what_is_no_number(numbers: Callable[[str], list[int]], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=re.escape(f'got {text!r}')):
        numbers(text)


def test_a_mistake_ends_with_one_line_and_status_1(
    tool: Tool, segmenter_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / 'net.pth').touch()
    arguments = [str(segmenter_config), 'net.pth', '--rankings', 'none.json', '--num-channels', '0:10:2']
    with pytest.raises(SystemExit) as info:
        command_line.run(lambda: tool('sweep')(arguments))
    assert info.value.code == 1
    assert capsys.readouterr().err.rstrip().splitlines()[-1].startswith('error: there is no ranking file at none.json')
