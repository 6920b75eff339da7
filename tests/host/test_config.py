"""Reading a config, what the command line changes in it, and what of the user's it leaves alone."""

import os
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from mmposenc.host import config
from mmposenc.host.config import add_hook, complete, read_config, type_name
from mmposenc.host.resume import StopSignalHook
from mmposenc.mm.hooks import CompileBackboneHook


class OwnCheckpointHook(CheckpointHook):
    pass


def test_a_config_is_read_with_its_overrides(tmp_path: Path) -> None:
    path = tmp_path / 'a.py'
    path.write_text("model = dict(type='Net', depth=18)\npipeline = [dict(size=3)]\n")
    cfg = read_config(str(path), ['model.depth=34', 'pipeline.0.size=1,2'])
    assert cfg.to_dict() == {'model': {'type': 'Net', 'depth': 34}, 'pipeline': [{'size': [1, 2]}]}
    assert read_config(str(path), ['a.b=x=y']).a.b == 'x=y'
    dicts = ["custom_hooks=[dict(type='mmposenc.X', layer='a', num_channels=5)]", "model={'depth': (5, None)}"]
    cfg = read_config(str(path), dicts)
    assert cfg.custom_hooks == [dict(type='mmposenc.X', layer='a', num_channels=5)]
    assert cfg.model == dict(type='Net', depth=(5, None))


@pytest.mark.parametrize(
    'text, options, message',
    [
        (None, [], r'config .*a\.py cannot be read: .*a\.py'),
        ("_base_ = './b.py'", [], r'config .*a\.py cannot be read: .*b\.py'),
        ('model = dict(', [], r'config .*a\.py, or one that it starts from, fails: .*SyntaxError'),
        ("custom_imports = dict(imports=['absent'])", [], r'fails: ImportError: Failed to import.*absent'),
        ('a = 1', ['custom_hooks=[dict(type=mmposenc.X)]'], r'dict\(type=mmposenc.X\)\] do not fit .*NameError'),
        ('pipeline = [dict(size=3)]', ['pipeline.7.size=5'], r'--cfg-options pipeline\.7\.size=5 do not fit .*Index 7'),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | None, options: list[str], message: str) -> None:
    path = tmp_path / 'a.py'
    if text is not None:
        path.write_text(text + '\n')
    with pytest.raises((ValueError, OSError), match=message):
        read_config(str(path), options)


def test_configs_of_packages_are_found_by_name(tmp_path: Path) -> None:
    assert config.config_folder() == Path(__file__).parents[2] / 'configs'
    headline = read_config('mmposenc::augshift_r18_cifar100.py')
    assert headline.model.type == 'mmposenc.AugShiftClassifier'
    assert read_config('mmpretrain::_base_/models/resnet18_cifar.py').model.backbone.type == 'ResNet_CIFAR'
    path = tmp_path / 'a.py'
    path.write_text("_base_ = 'mmposenc::augshift_r18_cifar100.py'\nmodel = dict(loss=dict(mse_weight=3.0))\n")
    cfg = Config.fromfile(path)
    assert cfg.model.loss.mse_weight == 3.0
    assert cfg.model.backbone == headline.model.backbone
    assert '_scope_' not in cfg.model, 'types are written mmposenc.X'
    path.write_text("_base_ = 'mmseg::_base_/models/deeplabv3_r50-d8.py'\n")
    assert Config.fromfile(path).model.decode_head.type == 'ASPPHead'
    with pytest.raises(FileNotFoundError, match=r'config mmposenc::absent\.py cannot be read: .*configs/absent\.py'):
        read_config('mmposenc::absent.py')


@pytest.mark.parametrize(
    'kind, name',
    [
        ('LoggerHook', 'LoggerHook'),
        ('mmengine.LoggerHook', 'LoggerHook'),
        (LoggerHook, 'LoggerHook'),
        (StopSignalHook, 'mmposenc.StopSignalHook'),
        ('mmseg.LoggerHook', 'mmseg.LoggerHook'),
        (nn.SyncBatchNorm, 'torch.SyncBatchNorm'),
        (print, ''),
    ],
)
def test_a_type_has_one_name_as_text_and_as_a_class(kind: Any, name: str) -> None:
    assert type_name(dict(type=kind)) == name
    assert type_name(dict()) == ''


EPOCHS, ITERS = 'mmposenc.ResumableEpochLoop', 'mmposenc.ResumableIterLoop'
ATOMIC, LOGGER = 'mmposenc.AtomicCheckpointHook', 'mmposenc.MainProcessLoggerHook'
OWN = dict(checkpoint=dict(type=OwnCheckpointHook), logger=None, timer=dict(type='OwnHook'))
GIVEN = dict(checkpoint=dict(type='CheckpointHook', interval=7), logger=dict(type=LoggerHook, interval=9))
REPLACED = dict(checkpoint=dict(type=ATOMIC, interval=7), logger=dict(type=LOGGER, interval=9))


@pytest.mark.parametrize(
    'given, kind',
    [
        (dict(by_epoch=True), EPOCHS),
        (dict(max_epochs=2), EPOCHS),
        (dict(by_epoch=False), ITERS),
        (dict(type='IterBasedTrainLoop'), ITERS),
        (dict(type=EpochBasedTrainLoop), EPOCHS),
        (dict(type='OwnLoop'), 'OwnLoop'),
        (dict(type=print), print),
    ],
)
def test_mmengines_loops_become_resumable_ones(given: dict, kind: Any) -> None:
    cfg = Config(dict(train_cfg=dict(val_interval=3, **given)))
    for _ in range(2):
        complete(cfg)
        assert (cfg.train_cfg.type, cfg.train_cfg.val_interval) == (kind, 3)
        assert 'by_epoch' not in cfg.train_cfg


@pytest.mark.parametrize(
    'given, expected',
    [(None, dict(checkpoint=dict(type=ATOMIC, interval=1), logger=dict(type=LOGGER))), (GIVEN, REPLACED), (OWN, OWN)],
)
def test_mmengines_default_hooks_become_those_of_this_package(given: dict | None, expected: dict) -> None:
    cfg = Config(dict(default_hooks=given))
    complete(cfg)
    assert cfg.default_hooks == expected


@pytest.mark.parametrize('name', ['augshift_r18_cifar100', 'deeplabv3_r50_camvid'])
def test_the_runtime_of_our_configs_names_every_hook_itself(name: str) -> None:
    cfg = read_config(f'mmposenc::{name}.py')
    named = cfg.copy().default_hooks.to_dict(), list(cfg.custom_hooks)
    complete(cfg)
    assert (cfg.default_hooks.to_dict(), list(cfg.custom_hooks)) == named


@pytest.mark.parametrize('kind', ['mmposenc.StopSignalHook', StopSignalHook])
def test_hooks_are_added_once_and_the_users_stay(kind: Any) -> None:
    own = dict(type=kind, signals=['SIGTERM'])
    cfg = Config(dict(custom_hooks=[own]))
    complete(cfg)
    add_hook(cfg, 'Another')
    complete(cfg)
    added = [dict(type='mmposenc.ProgressBarHook'), dict(type='mmposenc.RandomStateHook'), dict(type='Another')]
    assert cfg.custom_hooks == [own, *added]


def test_mmpretrains_data_loaders_are_filled_in() -> None:
    given = dict(num_workers=2, pin_memory=False)
    cfg = Config(dict(default_scope='mmpretrain', train_dataloader=given, val_dataloader=dict(num_workers=0)))
    complete(cfg)
    assert cfg.train_dataloader == {**given, 'persistent_workers': True, 'collate_fn': dict(type='default_collate')}
    assert cfg.val_dataloader.persistent_workers is False
    assert 'test_dataloader' not in cfg


def test_bfloat16_replaces_the_ordinary_wrapper_only() -> None:
    ours = 'mmposenc.AutocastOptimWrapper'
    kept = ('AmpOptimWrapper', AmpOptimWrapper, ours)
    for kind, expected in ((None, ours), (OptimWrapper, ours), *((each, each) for each in kept)):
        cfg = Config(dict(optim_wrapper=dict(type=kind) if kind else dict(optimizer=dict(type='SGD'))))
        config.use_autocast(cfg)
        assert cfg.optim_wrapper.type == expected
    for other, shown in (('Own', 'Own'), (print, '<built-in function print>')):
        with pytest.raises(ValueError, match=f'--amp replaces an optim_wrapper of type OptimWrapper, got {shown};'):
            config.use_autocast(Config(dict(optim_wrapper=dict(type=other))))


def test_deterministic_sets_every_switch_and_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':16:8')
    hooks = [dict(type=CompileBackboneHook), dict(type='mmposenc.CompileBackboneHook'), dict(type='EMAHook')]
    environment = dict(cudnn_benchmark=True, dist_cfg=dict(timeout=9))
    cfg = Config(dict(compile=dict(backend='eager'), env_cfg=environment, custom_hooks=hooks))
    config.deterministic(cfg)
    assert cfg.randomness == dict(seed=0, deterministic=True)
    assert cfg.env_cfg == dict(cudnn_benchmark=False, dist_cfg=dict(timeout=9))
    assert (cfg.compile, cfg.custom_hooks) == (False, [dict(type='EMAHook')])
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':16:8', "a user's own choice"
    cfg = Config(dict(randomness=dict(seed=3, diff_rank_seed=True)))
    config.deterministic(cfg)
    assert cfg.randomness == dict(seed=3, diff_rank_seed=True, deterministic=True)


def test_sync_bn_is_replaced_wherever_it_is() -> None:
    heads = [dict(norm_cfg=dict(type=kind)) for kind in ('MMSyncBN', nn.SyncBatchNorm, 'GN')]
    backbone = dict(norm_cfg=dict(type='SyncBN', requires_grad=True))
    cfg = Config(dict(model=dict(type='SyncBN2', backbone=backbone, heads=heads)))
    assert config.replace_sync_bn(cfg.model)
    assert cfg.model.backbone == dict(norm_cfg=dict(type='BN', requires_grad=True))
    assert [head.norm_cfg.type for head in cfg.model.heads] == ['BN', 'BN', 'GN']
    assert cfg.model.type == 'SyncBN2'
    assert not config.replace_sync_bn(cfg.model)
    assert not config.replace_sync_bn(None)


def test_a_config_of_mmdet_without_mmdet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmposenc.host.config.find_spec', lambda name: None)
    with pytest.raises(ValueError, match=r"needs mmdet: pip install 'mmposenc\[mmdet\]'"):
        complete(Config(dict(default_scope='mmdet')))
