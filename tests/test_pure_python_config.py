"""Configs of pure Python, whose types are imported classes instead of names: every tool takes them as the others."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmposenc.host.checkpoints import read_checkpoint
from mmposenc.host.determinism import deterministic
from mmposenc.mm.hooks.compile_backbone import CompileBackboneHook
from mmposenc.mm.metrics.region_iou import RegionIoUMetric

SWEEP = Path(__file__).parents[1] / 'tools' / 'sweep.py'
Tool = Callable[[str], Callable[[list[str]], None]]
# The classifier of conftest.py with this project's parts in it, once by name and once by class.
BY_NAME = """
custom_imports = dict(imports=['mmposenc'])
model.update(type='mmposenc.AugShiftClassifier', loss=dict(type='mmposenc.AugShiftLoss', mse_weight=1.0))
views = dict(type='MultiView', num_views=2, transforms=[[dict(type='RandomCrop', crop_size=16, padding=4)]])
train_dataloader['dataset']['pipeline'] = [dict(type='LoadImageFromFile'), views, dict(type='PackInputs')]
"""
BASE = """
from mmengine.hooks import CheckpointHook, DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop

default_scope = 'mmpretrain'
default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=CheckpointHook, interval=1),
    sampler_seed=dict(type=DistSamplerSeedHook),
)
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=2)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)
randomness = dict(seed=0)
"""
BY_CLASS = """
from mmengine.config import read_base

with read_base():
    from .runtime import *

from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import DefaultSampler
from mmengine.optim import OptimWrapper
from mmpretrain.datasets import CustomDataset, MultiView, PackInputs, RandomCrop
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import CrossEntropyLoss, GlobalAveragePooling, LinearClsHead, ResNet
from torch.optim import SGD

from mmposenc.mm.hooks.progress_bar import ProgressBarHook
from mmposenc.mm.models.augshift_classifier import AugShiftClassifier
from mmposenc.shifts.augshift import AugShiftLoss

model = dict(
    type=AugShiftClassifier,
    backbone=dict(type=ResNet, depth=18, base_channels=4, stem_channels=4),
    neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=2, in_channels=32, loss=dict(type=CrossEntropyLoss), topk=(1,)),
    loss=dict(type=AugShiftLoss, mse_weight=1.0),
)
data_preprocessor = dict(num_classes=2, mean=[128] * 3, std=[64] * 3, to_rgb=True)
views = dict(type=MultiView, num_views=2, transforms=[[dict(type=RandomCrop, crop_size=16, padding=4)]])
train_dataloader = dict(
    batch_size=7,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=CustomDataset,
        data_root='ROOT/train',
        pipeline=[dict(type=LoadImageFromFile), views, dict(type=PackInputs)],
    ),
)
val_dataloader = dict(
    batch_size=3,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=CustomDataset, data_root='ROOT/val', pipeline=[dict(type=LoadImageFromFile), dict(type=PackInputs)]
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type=Accuracy, topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.1))
custom_hooks = [dict(type=ProgressBarHook)]
"""


@pytest.fixture
def by_class(classifier_config: Path) -> str:
    (classifier_config.parent / 'runtime.py').write_text(BASE)
    path = classifier_config.parent / 'by_class.py'
    path.write_text(BY_CLASS.replace('ROOT', str(classifier_config.parent / 'images')))
    return str(path)


def test_it_trains_to_the_same_bits_as_by_name(
    tool: Tool, by_class: str, classifier_config: Path, capsys: pytest.CaptureFixture
) -> None:
    classifier_config.write_text(classifier_config.read_text() + BY_NAME)
    for config, folder in ((str(classifier_config), 'name'), (by_class, 'class')):
        tool('train')([config, '--work-dir', folder])
    by_name, same = (read_checkpoint(f'{folder}/epoch_2.pth') for folder in ('name', 'class'))
    assert by_name['state_dict'].keys() == same['state_dict'].keys()
    assert all(torch.equal(value, same['state_dict'][name]) for name, value in by_name['state_dict'].items())
    assert 'random_state' in str(same.keys()), 'saved by the hooks that let it be resumed'

    saved = Config.fromfile('class/by_class.py')
    assert saved.default_hooks.checkpoint.type == 'mmposenc.AtomicCheckpointHook'
    assert saved.train_cfg.type == 'mmposenc.ResumableEpochLoop'
    assert sum('ProgressBarHook' in str(hook.type) for hook in saved.custom_hooks) == 1
    tool('train')([by_class, '--work-dir', 'class', '--resume', '--amp', '--cfg-options', 'train_cfg.max_epochs=3'])
    assert 'class/epoch_3.pth' in capsys.readouterr().out


def test_it_is_tested_ranked_and_swept(tool: Tool, by_class: str, capsys: pytest.CaptureFixture) -> None:
    tool('train')([by_class, '--work-dir', 'run', '--cfg-options', 'train_cfg.max_epochs=1'])
    tool('test')([by_class, 'run/epoch_1.pth', '--work-dir', 'run'])
    tool('rank_channels')([by_class, 'run/epoch_1.pth', '--layer', 'neck', '--out', 'ranking.json'])
    sweep = ['--rankings', 'ranking.json', '--num-channels', '0,8', '--out', 'sweep']
    tool('sweep')([by_class, 'run/epoch_1.pth', *sweep])
    assert 'sweep: sweep.csv' in capsys.readouterr().out
    assert Path('sweep/sweep.csv').read_text().count('\n') > 2


@pytest.mark.parametrize('kind', ['mmposenc.RegionIoUMetric', RegionIoUMetric])
def test_a_sweep_takes_the_regions_of_the_configs_metric(kind: str | type) -> None:
    metric = dict(type=kind, regions=dict(top=(0, 0, 1, 0.5)))
    region_metric = runpy.run_path(str(SWEEP))['_region_metric']
    assert region_metric(metric) == region_metric([dict(type=print), metric]) == metric
    assert region_metric(dict(type='IoUMetric')) == region_metric(None) == {}


def test_deterministic_takes_a_compiling_hook_out() -> None:
    cfg = Config(dict(custom_hooks=[dict(type=CompileBackboneHook), dict(type=print)]))
    deterministic(cfg)
    assert [hook.type for hook in cfg.custom_hooks] == [print]
