"""Reading a config: what is wrong with it is said in one line that names it."""

import inspect
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

from mmposenc.host.config_file import Options, read_config


def test_a_config_is_read_with_its_overrides(tmp_path: Path) -> None:
    path = tmp_path / 'a.py'
    path.write_text("model = dict(type='Net', depth=18)\npipeline = [dict(size=3)]\n")
    cfg = read_config(str(path), {'model.depth': 34, 'pipeline.0.size': 5})
    assert cfg.to_dict() == {'model': {'type': 'Net', 'depth': 34}, 'pipeline': [{'size': 5}]}


@pytest.mark.parametrize(
    'text, message',
    [
        ('model = dict(', 'is no valid Python'),
        ('model = 1 / 0', r'fails: ZeroDivisionError: division by zero'),
        ('model = 5', r'model in config .*a\.py must be a dict, got 5'),
        ('default_scope = []', r'default_scope in config .*a\.py must be text, got \[\]'),
        ('custom_hooks = dict(a=1)', r'custom_hooks in config .*a\.py must be a list of dicts'),
        (
            'default_hooks = dict(logger=3)',
            r'default_hooks\.logger in config .*a\.py must be a dict with a type, got 3',
        ),
        (
            'val_dataloader = dict(num_workers=-1)',
            r'val_dataloader\.num_workers in config .*a\.py must be an integer from 0 to 1024',
        ),
        ('train_cfg = dict(type=[])', r'train_cfg\.type in config .*a\.py must name a loop, got \[\]'),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'a.py'
    path.write_text(text + '\n')
    with pytest.raises(ValueError, match=message):
        read_config(str(path))


def test_a_config_that_starts_from_itself(tmp_path: Path) -> None:
    path = tmp_path / 'a.py'
    path.write_text("_base_ = './a.py'\n")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)  # the host writes ten files a step
    try:
        with pytest.raises(ValueError, match=r'config .*a\.py starts from itself'):
            read_config(str(path))
    finally:
        sys.setrecursionlimit(limit)


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / 'a.py'
    path.write_text("_base_ = './b.py'\n")
    with pytest.raises(FileNotFoundError, match=r'config .*a\.py cannot be read: .*b\.py'):
        read_config(str(path))


def test_an_override_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / 'a.py'
    path.write_text('pipeline = [dict(size=3)]\n')
    with pytest.raises(ValueError, match=r'--cfg-options pipeline\.7\.size do not fit config .*a\.py: .*Index 7'):
        read_config(str(path), {'pipeline.7.size': 5})


@pytest.mark.parametrize('option', ['model', '=5', ' =5', 'a=[(1,2]'])
def test_an_override_that_is_none(option: str, capsys: pytest.CaptureFixture) -> None:
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Options)
    assert parser.parse_args(['--cfg-options', 'a.b=1,2', 'c=x=y']).cfg_options == {'a.b': [1, 2], 'c': 'x=y'}
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', option])
    assert f'--cfg-options takes KEY=VALUE, got {option}' in capsys.readouterr().err
