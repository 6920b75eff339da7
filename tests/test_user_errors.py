"""One line for a user's mistake, a traceback for a bug."""

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import distributed

from mmposenc.host.errors import run


def failure(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    'error, line',
    [
        (ValueError('grid_size must be at least 2,\n  got 1'), 'error: grid_size must be at least 2, got 1'),
        (TypeError('wrong'), 'error: wrong'),
        (FileNotFoundError(2, 'No such file', 'a.pth'), "error: [Errno 2] No such file: 'a.pth'"),
        (ImportError('No module named timm'), 'error: No module named timm'),
        (OSError(), 'error: OSError'),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture, error: Exception, line: str) -> None:
    with pytest.raises(SystemExit) as info:
        run(lambda: failure(error))
    assert info.value.code == 1
    assert capsys.readouterr().err == line + '\n'


def test_an_unknown_name_in_a_config_is_one_line(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run(lambda: HOOKS.build(dict(type='NoSuchHook')))
    assert capsys.readouterr().err.startswith('error: NoSuchHook is not in the mmengine::hook registry.')
    with pytest.raises(SystemExit):
        run(lambda: Config(dict(model=dict())).model.backbone)
    assert 'backbone' in capsys.readouterr().err


@pytest.mark.parametrize('kind', [KeyError, AttributeError, RuntimeError, AssertionError])
def test_a_bug_keeps_its_traceback(kind: type[Exception]) -> None:
    with pytest.raises(kind, match='bug'):
        run(lambda: failure(kind('bug')))


def test_what_a_config_says_fails_in_one_line(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(depth: object) -> int:
        return depth.numerator

    for run_it in (lambda: HOOKS.build(dict(type=part, depth='deep')), lambda: Runner.from_cfg(Config(dict()))):
        with pytest.raises(SystemExit):
            run(run_it)
    built, begun = capsys.readouterr().err.splitlines()
    assert built == (
        "error: part cannot be built as the config says (AttributeError: 'str' object has no attribute 'numerator'); "
        'MMPOSENC_TRACEBACK=1 shows where'
    )
    assert begun.startswith('error: ')
    monkeypatch.setenv('MMPOSENC_TRACEBACK', '1')
    with pytest.raises(AttributeError):
        run(lambda: HOOKS.build(dict(type=part, depth='deep')))


def test_the_error_of_a_worker_process_is_its_last_line(capsys: pytest.CaptureFixture) -> None:
    text = (
        'Caught ValueError in worker.\nOriginal Traceback (most recent call last):\n  File "a.py"\nValueError: no image'
    )
    with pytest.raises(SystemExit):
        run(lambda: failure(ValueError(text)))
    assert capsys.readouterr().err == 'error: ValueError: no image\n'


def test_a_long_error_is_cut(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run(lambda: failure(ValueError('word ' * 1000)))
    assert len(capsys.readouterr().err) < 750


def test_the_traceback_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MMPOSENC_TRACEBACK', '1')
    with pytest.raises(ValueError, match='mistake'):
        run(lambda: failure(ValueError('mistake')))


def test_an_interrupted_run_says_how_to_go_on(capsys: pytest.CaptureFixture) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as info:
        run(interrupted)
    assert info.value.code == 130
    assert 'stopped; a training goes on from its last checkpoint with --resume' in capsys.readouterr().err


@pytest.mark.parametrize('status', [None, 143])
def test_the_process_group_is_taken_down(tmp_path: object, status: int | None) -> None:
    def main() -> None:
        distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/meet', rank=0, world_size=1)
        if status:
            raise SystemExit(status)  # as a training that was told to stop

    if status:
        with pytest.raises(SystemExit) as info:
            run(main)
        assert info.value.code == status
    else:
        run(main)
    assert not distributed.is_initialized()


def test_a_fault_is_one_line_and_its_traceback_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    fault = RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')
    with pytest.raises(SystemExit) as info:
        run(lambda: failure(fault))
    assert info.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith('error: DataLoader worker (pid 7) is killed by signal: Killed; if nobody killed it,')
    assert err.count('\n') == 1
    monkeypatch.setenv('MMPOSENC_TRACEBACK', '1')
    with pytest.raises(RuntimeError, match='DataLoader worker'):
        run(lambda: failure(fault))
