"""The plan of tools/demo.py and its bookkeeping; that its commands work is shown by running it."""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import planted_sweep
import pytest
from matplotlib.figure import Figure
from torch import Tensor

from mmposenc.cli import COMMANDS, make_parser

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location('mmposenc_demo', ROOT / 'tools' / 'demo.py')
demo: Any = importlib.util.module_from_spec(spec)
sys.modules['mmposenc_demo'] = demo
spec.loader.exec_module(demo)


def test_every_step_is_a_command_with_configs_that_exist_and_earlier_steps(tmp_path: Path) -> None:
    seen: set[str] = set()
    for step in demo.plan(tmp_path / 'a folder'):
        name, *words = shlex.split(step.command)
        assert name in COMMANDS
        make_parser(name).parse_args(words)
        configs = [word.removeprefix('mmposenc::') for word in words if word.startswith('mmposenc::')]
        assert configs or name == 'probe'
        assert all((ROOT / 'configs' / config).is_file() for config in configs)
        # Every other file lies in the folder of the demo, wherever that is.
        assert all(str(tmp_path / 'a folder') in word for word in words if '/' in word and word != demo.lite0())
        assert set(step.after) <= seen
        seen.add(step.name)


def test_help_and_a_mistake_from_any_directory(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / 'tools' / 'demo.py')]
    done = subprocess.run([*command, '--help'], cwd=tmp_path, capture_output=True, text=True)
    assert all(option in done.stdout for option in ('--out', '--fresh', '--jobs', '--traceback'))
    done = subprocess.run([*command, '--jobs', '0'], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, 'error: --jobs must be at least 1, got 0\n')


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs steps in this process, and notes their names."""
    ran: list[str] = []

    def work(command: str, out: str, name: str) -> dict[str, Any]:
        if command == 'fail':
            raise ValueError('no digits')
        ran.append(name)
        result = dict(command=command, figures={'x': 1.0}, seconds=0.0, cpu_seconds=0.0)
        Path(out, 'steps').mkdir(exist_ok=True)
        Path(out, 'steps', f'{name}.json').write_text(json.dumps(result))
        return result

    monkeypatch.setattr(demo, 'work', work)
    monkeypatch.setattr(demo, 'ProcessPoolExecutor', lambda jobs, context: ThreadPoolExecutor(jobs))
    return ran


def step(name: str, command: str = 'train x', after: tuple[str, ...] = ()) -> Any:
    return demo.Step(name, command, name, 1, after)


def test_finished_steps_are_skipped_and_what_follows_a_repeated_one_is_not(in_process, tmp_path: Path, capsys) -> None:
    steps = [step('a'), step('b', after=('a',)), step('c')]
    results = demo.run_steps(steps, tmp_path, 2)
    assert sorted(in_process) == ['a', 'b', 'c']
    assert in_process.index('a') < in_process.index('b')
    assert results['b']['figures'] == {'x': 1.0}
    assert 'done   b, 0 s; ' in capsys.readouterr().out
    demo.run_steps(steps, tmp_path, 2)
    assert len(in_process) == 3
    for name in 'abc':
        (tmp_path / name).mkdir()
    demo.run_steps([step('a', 'train y'), *steps[1:]], tmp_path, 2)
    assert in_process[3:] == ['a', 'b']
    assert [path.name for path in tmp_path.glob('?')] == ['c'], 'nothing of an older command is resumed'


def test_a_failing_step_names_its_log_and_runs_again(in_process: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'two: no digits; see .*two\.log'):
        demo.run_steps([step('one'), step('two', 'fail', ('one',))], tmp_path, 1)
    demo.run_steps([step('one'), step('two', after=('one',))], tmp_path, 1)
    assert in_process == ['one', 'two']


def test_the_output_of_a_step_is_in_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    def call(command: list[str]) -> dict[str, Any]:
        os.write(1, ' '.join(command).encode())
        return {'accuracy/top1': 97.5, 'name': 'text'}

    monkeypatch.setattr('mmposenc.cli.call', call)
    result = demo.work("train 'a b'", str(tmp_path), 'one')
    assert (tmp_path / 'logs' / 'one.log').read_text() == 'train a b'
    assert result['figures'] == {'accuracy/top1': 97.5}
    assert demo.run_steps([step('one', "train 'a b'")], tmp_path, 1) == {'one': result}


def test_the_remaining_time() -> None:
    steps = [step(name) for name in 'abc']
    shown = demo.Display(steps, jobs=1)
    assert shown.left() == 'about 0:03 left'
    shown.begin(steps[0])
    shown.progress.tasks[1].start_time -= 62  # 61 seconds more than expected: twice as slow as a minute and a second
    shown.end(steps[0])
    assert shown.left() == 'about 0:04 left'


class ClassPoints(planted_sweep.Points):
    """The planted figures of a region, as those of each of its classes."""

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        classes = [f'IoU/{name}' for names in demo.GROUPS.values() for name in names]
        scores = super().finish(sums)
        of_classes = {key.replace('score', name): value for key, value in scores.items() for name in classes}
        return {**scores, **of_classes}


@pytest.mark.parametrize('costs, verdict', [(4.0, 'more than chance'), (0.5, 'not distinguishable')])
def test_the_page_claims_what_the_sweep_shows(costs: float, verdict: str, tmp_path: Path, monkeypatch) -> None:
    eq2 = 'overall-flip_image-abs'
    # Each side's channels cost their half as many points, the other half 1 and the whole image 0.7.
    points = {eq2: (0.7, 0.7, 0.7), 'left': (costs, 1.0, 0.7), 'right': (1.0, costs, 0.7)}
    monkeypatch.setattr(planted_sweep, 'COSTS', points)
    sweep = planted_sweep.planted_sweep((eq2, 'left', 'right'), num_random=39, num_matched=19, metric=ClassPoints())
    monkeypatch.setattr('mmposenc.cli.report.draw_sections', lambda sweep, out: [])
    Figure().savefig(tmp_path / 'fig5.png')
    ((classes, summary),) = demo.channel_sections(tmp_path, sweep)
    building, tree, digits, _ = summary
    for sentence, name, side in ((building, 'building', 'left'), (tree, 'tree', 'right')):
        # Mean over N = 0, 2 and 4, as in Sweep.claims.
        assert f'{side}-specific channels costs the class "{name}" {2 * costs:.1f} points of IoU' in sentence
        assert f': {verdict}' in sentence
        assert ('none of 19 random orders costs as much (p = 0.050)' in sentence) == (costs > 1)
        assert 'specific channels cost it 2.0 points (p = 0.025)' in sentence
    assert '1.4, 1.4, 1.4 points to left-specific, 1.4, 1.4, 1.4 to right-specific and 1.4, 1.4, 1.4 to' in digits
    picture = next(part for part in classes.parts if 'Two claims' in getattr(part, 'caption', ''))
    assert picture.caption.count(f': {verdict}') == 2
