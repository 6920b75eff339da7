"""The demo's plan and its bookkeeping; that its commands work is shown by running it."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location('demo_tool', ROOT / 'tools' / 'demo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'OUT', tmp_path)
    (tmp_path / 'logs').mkdir()
    return module


def script(tmp_path, text):
    path = tmp_path / 'script.py'
    path.write_text(text)
    return str(path)


def test_every_step_names_a_tool_and_configs_that_exist_and_earlier_steps(demo):
    seen = set()
    for name, step in demo.plan().items():
        tool, *words = step.command.split()
        assert (ROOT / tool).is_file()
        assert all((ROOT / word).is_file() for word in words if word.startswith('configs/'))
        assert set(step.after) <= seen
        seen.add(name)


def test_a_finished_step_is_not_run_again(demo, tmp_path, capsys):
    path = script(tmp_path, "open('ran', 'a').write('x'); print('done: accuracy/top1 97.5, cons8_low -1; none')")
    step = demo.Step('one', f'{path}')
    demo.ROOT = tmp_path
    step.run()
    step.run()
    assert (tmp_path / 'ran').read_text() == 'x'
    assert step.figures() == {'accuracy/top1': 97.5, 'cons8_low': -1.0}
    assert '[ready] one' in capsys.readouterr().out


def test_a_failing_step_says_where_its_log_is_and_runs_again(demo, tmp_path):
    step = demo.Step('two', script(tmp_path, "raise SystemExit('no digits')"))
    with pytest.raises(ValueError, match=r'two ended with status 1; see .*two.log\nno digits'):
        step.run()
    script(tmp_path, "print('done: x 1;')")
    step.run()
    assert step.figures() == {'x': 1.0}
