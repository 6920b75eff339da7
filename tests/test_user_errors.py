"""One line for a user's mistake, a traceback for a bug."""

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS
from torch import distributed

from mmposenc.user_errors import run


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


def test_the_process_group_is_taken_down(tmp_path: object) -> None:
    run(lambda: distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/meet', rank=0, world_size=1))
    assert not distributed.is_initialized()
