"""`--deterministic`: it sets every switch, and then the same seed gives the same bits."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmposenc.host.checkpoints import read_checkpoint
from mmposenc.host.determinism import deterministic

Tool = Callable[[str], Callable[[list[str]], None]]
CUDNN = torch.backends.cudnn
# Flips, two random views, and channels in a random order.
RANDOM = """
custom_imports = dict(imports=['mmposenc'])
model.update(type='mmposenc.AugShiftClassifier', loss=dict(type='mmposenc.AugShiftLoss'),
    neck=dict(type='mmposenc.PermuteNeck'))
views = dict(type='MultiView', num_views=2, transforms=[[dict(type='RandomCrop', crop_size=16, padding=4)]])
train_dataloader['dataset']['pipeline'] = [
    dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5), views, dict(type='PackInputs')]
"""


@pytest.fixture(autouse=True)
def _switches_put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    before = CUDNN.deterministic, CUDNN.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    CUDNN.deterministic, CUDNN.benchmark = before
    os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)  # before monkeypatch gives back a user's own


@pytest.mark.parametrize('tool_name', ['train', 'test'])
def test_the_flag_sets_every_switch(tool: Tool, classifier_config: Path, tool_name: str) -> None:
    text = classifier_config.read_text().replace('randomness = dict(seed=0)', 'randomness = dict(seed=7)')
    text += "custom_imports = dict(imports=['mmposenc'])\nenv_cfg = dict(cudnn_benchmark=True)\n"
    text += "custom_hooks = [dict(type='EMAHook'), dict(type='mmposenc.CompileBackboneHook', on_cpu=True)]\n"
    classifier_config.write_text(text)
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'custom_hooks=[]']
    tool('train')([str(classifier_config), *options])
    switches = (torch.are_deterministic_algorithms_enabled(), CUDNN.deterministic, CUDNN.benchmark)
    assert switches == (False, False, True), 'what the config says, without the flag'
    assert 'CUBLAS_WORKSPACE_CONFIG' not in os.environ

    checkpoint = ['work_dirs/tiny/epoch_1.pth'] if tool_name == 'test' else []
    tool(tool_name)([str(classifier_config), *checkpoint, '--work-dir', 'run', '--deterministic', *options[:2]])
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert (CUDNN.deterministic, CUDNN.benchmark) == (True, False)
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    saved = Config.fromfile('run/tiny.py')
    assert saved.randomness == dict(seed=7, deterministic=True)
    kinds = [hook.type for hook in saved.custom_hooks]
    assert 'EMAHook' in kinds
    assert 'mmposenc.CompileBackboneHook' not in kinds


def test_what_the_flag_adds_and_what_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':16:8')
    cfg = Config(dict(compile=dict(backend='eager'), env_cfg=dict(cudnn_benchmark=True, dist_cfg=dict(timeout=9))))
    deterministic(cfg)
    assert cfg.randomness == dict(seed=0, deterministic=True)
    assert cfg.env_cfg == dict(cudnn_benchmark=False, dist_cfg=dict(timeout=9))
    assert (cfg.compile, cfg.custom_hooks) == (False, [])
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':16:8', "a user's own choice"
    cfg = Config(dict(randomness=dict(seed=3, diff_rank_seed=True)))
    deterministic(cfg)
    assert cfg.randomness == dict(seed=3, diff_rank_seed=True, deterministic=True)


@pytest.mark.parametrize('host', ['mmpretrain', 'mmseg'])
def test_the_same_seed_gives_the_same_bits(
    tool: Tool, classifier_config: Path, segmenter_config: Path, host: str
) -> None:
    config, last = {
        'mmpretrain': (classifier_config, 'epoch_2.pth'),
        'mmseg': (segmenter_config, 'iter_8.pth'),
    }[host]
    if host == 'mmpretrain':
        config.write_text(config.read_text() + RANDOM)
    runs = {}
    for name, seed in (('one', 5), ('again', 5), ('other', 6)):
        options = [f'randomness.seed={seed}', 'default_hooks.logger.type=LoggerHook', 'default_hooks.logger.interval=1']
        tool('train')([str(config), '--work-dir', name, '--deterministic', '--cfg-options', *options])
        saved = read_checkpoint(f'{name}/{last}')
        runs[name] = (saved['state_dict'], saved['optimizer'], log(name))
    one, again, other = runs.values()
    assert len(one[2]) > 4
    assert same(one, again)
    for part in (0, 2):
        assert not same(one[part], other[part])


def log(folder: str) -> list[dict[str, Any]]:
    """Every logged figure but the times."""
    (path,) = Path(folder).glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in line.items() if 'time' not in name} for line in lines]


def same(one: Any, other: Any) -> bool:
    """Whether two nested values are equal, tensors to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
