"""A config is read and its run is built, or a tool ends with one line; a config is a program, and these do no harm."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_cases import end_of_tool, hostile, load_tool, outcome
from hostile_values import JSON, TEXTS, damaged, places
from hypothesis import example
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmposenc.cli import common as command_line
from mmposenc.host.config_file import Options, read_config

BASE = """
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18), neck=None)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
test_dataloader = dict(batch_size=3, num_workers=0, dataset=dict(type='CustomDataset', pipeline=pipeline))
train_cfg = dict(by_epoch=True, max_epochs=2)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=2))
custom_hooks = [dict(type='EmptyCacheHook')]
custom_imports = dict(imports=['mmposenc'])
"""


def arguments(path: Path, options: dict | None = None) -> Namespace:
    return Namespace(config=str(path), cfg_options=options, launcher='none', work_dir=None, trust_checkpoint=False)


def names_the_config(call: Any, path: Path) -> Config | None:
    cfg, message = outcome(call)
    assert message is None or path.name in message, message
    return cfg


@hostile(120, content=damaged(BASE.encode()))
@example(content=b'\0')
@example(content=b'\xff\xfe')
@example(content=b'_base_ = ["./absent.py"]')
@example(content=b'_base_ = 5')
@example(content=b'model = {{_base_.model}}')
@example(content=b'model = {{$ABSENT:}}')
@example(content=b'_delete_ = True\nfilename = 3')
@example(content=b'model = ' + b'[' * 5000 + b']' * 5000)
@example(content=b'model = 1 / 0')
@example(content=b'raise KeyError')
@example(content=b'with read_base():\n    from . import x')
@example(content=b'from mmengine.config import read_base\nwith read_base():\n    from .absent import *')
def test_a_damaged_config_is_read_or_named(hosts_unchanged: None, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'config.py'
    path.write_bytes(content)
    cfg = names_the_config(lambda: command_line.load_config(arguments(path)), path)
    if cfg is not None:
        plain: dict = {}
        exec(compile(content, 'config', 'exec'), plain)  # the same text, run as what it is
        assert cfg.get('model') == plain.get('model')
        assert cfg.get('test_dataloader', {}).get('dataset') == plain.get('test_dataloader', {}).get('dataset')


@hostile(150, entries=st.dictionaries(st.sampled_from(['model', 'filename', 'a']) | TEXTS, JSON, max_size=3))
@example(entries={'filename': 1})
def test_anything_as_a_json_config(hosts_unchanged: None, tmp_path: Path, entries: dict) -> None:
    path = tmp_path / 'config.json'
    path.write_text(json.dumps({'model': {'type': 'Net'}, **entries}))
    cfg = names_the_config(lambda: command_line.load_config(arguments(path)), path)
    if cfg is not None:
        assert cfg.model == {'type': 'Net'} or 'model' in entries


KEYS = [
    'model',
    'test_dataloader',
    'train_cfg',
    'default_hooks',
    'custom_hooks',
    'default_scope',
    'work_dir',
    'env_cfg',
]


@hostile(250, key=st.sampled_from(KEYS), value=JSON, within=st.booleans())
@example(key='train_cfg', value={'type': []}, within=False)
@example(key='default_hooks', value={'checkpoint': 5}, within=False)
@example(key='custom_hooks', value=[5], within=False)
def test_any_entry_that_every_tool_reads(
    hosts_unchanged: None, tmp_path: Path, key: str, value: Any, within: bool
) -> None:
    path = tmp_path / 'config.json'
    entry = {key: {'type': value, 'checkpoint': value, 'num_workers': value} if within else value}
    path.write_text(json.dumps({'default_scope': 'mmpretrain', 'train_cfg': {'by_epoch': True}, **entry}))
    cfg = names_the_config(lambda: command_line.load_config(arguments(path)), path)
    if cfg is not None and key == 'model':
        assert json.dumps(cfg.model) == json.dumps(entry['model'])


NAMES = ['model.depth', 'pipeline.0.type', 'pipeline.9', 'custom_hooks.0', 'model', 'a..b', '.', 'model.type.x', 'new']
OPTIONS = st.lists(
    st.tuples(
        st.sampled_from(NAMES) | TEXTS, st.sampled_from(['=', '=', '=', '']), TEXTS | st.text('[](),1a', max_size=9)
    )
    .map(lambda parts: ''.join(parts).encode(errors='replace').decode())
    .filter(lambda option: not option.startswith('-')),
    min_size=1,
    max_size=3,
)


@hostile(250, options=OPTIONS)
@example(options=['model.depth=34'])
@example(options=['a=[(1,2]'])
@example(options=['=5'])
@example(options=['model=1', 'model.depth=2'])
@example(options=['pipeline.0.type=A', 'pipeline.7=3'])
@example(options=['a=' + '[' * 5000 + ']' * 5000])
def test_any_overrides(hosts_unchanged: None, tmp_path: Path, capsys: Any, options: list[str]) -> None:
    path = tmp_path / 'config.py'
    path.write_text(BASE)
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Options)
    try:
        parsed = parser.parse_args(['--cfg-options', *options]).cfg_options
    except SystemExit:
        assert '--cfg-options takes KEY=VALUE, got' in capsys.readouterr().err
        return
    assert list(parsed) == list(dict.fromkeys(option.partition('=')[0] for option in options))
    cfg, message = outcome(lambda: read_config(str(path), parsed))
    assert message is None or 'config.py' in message
    if message is None and options == [f'model.depth={parsed.get("model.depth")}']:
        assert cfg.model.depth == parsed['model.depth']


@st.composite
def changed_config(draw: st.DrawFn, whole: dict) -> dict:
    whole = json.loads(json.dumps(whole))
    path = draw(st.sampled_from([path for path in places(whole) if path]))
    owner = whole
    for key in path[:-1]:
        owner = owner[key]
    if draw(st.integers(0, 4)):
        replaced = draw(JSON)
        # A training of a thousand epochs, or one with a hundred processes, is not a mistake.
        endless = path[-1] in ('num_workers', 'max_epochs') and type(replaced) in (int, float) and replaced > 0
        owner[path[-1]] = owner[path[-1]] if endless else replaced
    else:
        del owner[path[-1]]
    return whole


@hostile(24, 5, data=st.data(), train=st.booleans())
def test_a_run_with_any_entry_exchanged(
    hosts_unchanged: None, tmp_path: Path, classifier_config: Path, capsys: Any, data: st.DataObject, train: bool
) -> None:
    """Through the whole tool: it trains or tests, or ends with status 1 and one line, and leaves no half checkpoint."""
    weights = tmp_path / 'weights.pth'
    whole = Config.fromfile(classifier_config).to_dict()
    if not weights.exists():
        init_default_scope('mmpretrain')
        torch.manual_seed(0)
        torch.save({'state_dict': MODELS.build(whole['model']).state_dict()}, weights)
    changed = data.draw(changed_config({**whole, 'train_cfg': {'by_epoch': True, 'max_epochs': 1}}))
    path = tmp_path / 'changed.json'
    path.write_text(json.dumps(changed))
    options = [str(path), '--work-dir', str(tmp_path / 'run')]
    if not train:
        options.insert(1, str(weights))
    status, _ = end_of_tool('train' if train else 'test', options, capsys)
    assert status in (0, 1)
    for checkpoint in (tmp_path / 'run').glob('*.pth'):
        torch.load(checkpoint, weights_only=False)
        checkpoint.unlink()


@hostile(60, content=st.binary(max_size=40) | TEXTS.map(lambda text: text.encode(errors='replace')))
@example(content=b'\xff\xfe')
@example(content=b'\n \n')
def test_any_region_list(hosts_unchanged: None, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'val-left.txt'
    path.write_bytes(content)
    listed, message = outcome(lambda: load_tool('rank_channels')._listed(str(path)), path)
    if message is None:
        assert listed == str(path)
        assert content.decode().strip()
    for suffix in ('.pkl', '.yaml'):  # which a data set of the host would unpickle, or worse
        odd = path.with_suffix(suffix)
        odd.write_bytes(content)
        with pytest.raises(ValueError, match='the region list'):
            load_tool('rank_channels')._listed(str(odd))
