"""What the tools change in a config, and what of the user's they leave alone."""

from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from mmposenc.host.config_changes import (
    add_hook,
    fill_dataloaders,
    make_interruptible,
    replace_sync_bn,
    type_name,
    use_autocast,
    write_figures_once,
)
from mmposenc.host.stop_signal import StopSignalHook


class OwnCheckpointHook(CheckpointHook):
    pass


@pytest.mark.parametrize(
    'kind, name',
    [
        ('LoggerHook', 'LoggerHook'),
        ('mmengine.LoggerHook', 'LoggerHook'),
        (LoggerHook, 'LoggerHook'),
        ('mmposenc.StopSignalHook', 'mmposenc.StopSignalHook'),
        (StopSignalHook, 'mmposenc.StopSignalHook'),
        ('mmseg.LoggerHook', 'mmseg.LoggerHook'),
        (nn.SyncBatchNorm, 'torch.SyncBatchNorm'),
        (print, ''),
    ],
)
def test_a_type_has_one_name_as_text_and_as_a_class(kind: Any, name: str) -> None:
    assert type_name(dict(type=kind)) == name
    assert type_name(dict()) == ''


@pytest.mark.parametrize(
    'train_cfg, changed',
    [
        (dict(by_epoch=True, max_epochs=2), dict(type='mmposenc.ResumableEpochLoop', max_epochs=2)),
        (dict(max_epochs=2), dict(type='mmposenc.ResumableEpochLoop', max_epochs=2)),
        (dict(by_epoch=False, max_iters=2), dict(type='mmposenc.ResumableIterLoop', max_iters=2)),
        (dict(type='IterBasedTrainLoop', max_iters=2), dict(type='mmposenc.ResumableIterLoop', max_iters=2)),
        (dict(type='EpochBasedTrainLoop', max_epochs=2), dict(type='mmposenc.ResumableEpochLoop', max_epochs=2)),
        (dict(type=EpochBasedTrainLoop, max_epochs=2), dict(type='mmposenc.ResumableEpochLoop', max_epochs=2)),
        (dict(type='OwnLoop', max_epochs=2), dict(type='OwnLoop', max_epochs=2)),
        (dict(type=print, max_epochs=2), dict(type=print, max_epochs=2)),
        (None, None),
    ],
)
def test_the_hosts_loops_become_resumable_ones(train_cfg: Any, changed: Any) -> None:
    cfg = Config(dict(train_cfg=train_cfg))
    make_interruptible(cfg)
    assert cfg.train_cfg == changed
    make_interruptible(cfg)
    assert cfg.train_cfg == changed


@pytest.mark.parametrize(
    'before, after',
    [
        (dict(), dict(checkpoint=dict(type='mmposenc.AtomicCheckpointHook', interval=1))),
        (
            dict(checkpoint=dict(type='CheckpointHook', interval=7)),
            dict(checkpoint=dict(type='mmposenc.AtomicCheckpointHook', interval=7)),
        ),
        (dict(checkpoint=dict(type=CheckpointHook)), dict(checkpoint=dict(type='mmposenc.AtomicCheckpointHook'))),
        (dict(checkpoint=dict(type='OwnHook')), dict(checkpoint=dict(type='OwnHook'))),
        (dict(checkpoint=dict(type=OwnCheckpointHook)), dict(checkpoint=dict(type=OwnCheckpointHook))),
        (dict(checkpoint=None), dict(checkpoint=None)),
    ],
)
def test_the_hosts_checkpoint_hook_becomes_an_atomic_one(before: dict, after: dict) -> None:
    cfg = Config(dict(default_hooks=before))
    make_interruptible(cfg)
    assert cfg.default_hooks == after


@pytest.mark.parametrize(
    'before, after',
    [
        (dict(), dict(logger=dict(type='mmposenc.MainProcessLoggerHook'))),
        (
            dict(logger=dict(type=LoggerHook, interval=7)),
            dict(logger=dict(type='mmposenc.MainProcessLoggerHook', interval=7)),
        ),
        (dict(logger=dict(type='OwnHook')), dict(logger=dict(type='OwnHook'))),
        (dict(logger=None), dict(logger=None)),
    ],
)
def test_the_hosts_logger_hook_becomes_one_of_the_first_process(before: dict, after: dict) -> None:
    cfg = Config(dict(default_hooks=before))
    write_figures_once(cfg)
    assert cfg.default_hooks == after


@pytest.mark.parametrize('kind', ['mmposenc.StopSignalHook', StopSignalHook])
def test_hooks_are_added_once_and_the_users_stay(kind: Any) -> None:
    own = dict(type=kind, signals=['SIGTERM'])
    cfg = Config(dict(custom_hooks=[own]))
    make_interruptible(cfg)
    add_hook(cfg, 'Another')
    make_interruptible(cfg)
    assert cfg.custom_hooks == [own, dict(type='mmposenc.RandomStateHook'), dict(type='Another')]


def test_bfloat16_replaces_the_ordinary_wrapper_only() -> None:
    ours = 'mmposenc.AutocastOptimWrapper'
    kept = ('AmpOptimWrapper', AmpOptimWrapper, ours)
    for kind, expected in ((None, ours), (OptimWrapper, ours), *((each, each) for each in kept)):
        cfg = Config(dict(optim_wrapper=dict(type=kind) if kind else dict(optimizer=dict(type='SGD'))))
        use_autocast(cfg)
        assert cfg.optim_wrapper.type == expected
    for other, shown in (('Own', 'Own'), (print, '<built-in function print>')):
        with pytest.raises(ValueError, match=f'--amp replaces an optim_wrapper of type OptimWrapper, got {shown};'):
            use_autocast(Config(dict(optim_wrapper=dict(type=other))))


def test_workers_persist_where_there_are_any() -> None:
    cfg = Config(dict(train_dataloader=dict(num_workers=2, pin_memory=False), val_dataloader=dict(num_workers=0)))
    fill_dataloaders(cfg)
    assert cfg.train_dataloader == dict(
        num_workers=2, pin_memory=False, persistent_workers=True, collate_fn=dict(type='default_collate')
    )
    assert cfg.val_dataloader.persistent_workers is False
    assert 'test_dataloader' not in cfg


def test_sync_bn_is_replaced_wherever_it_is() -> None:
    cfg = Config(
        dict(
            model=dict(
                type='SyncBN2',
                backbone=dict(norm_cfg=dict(type='SyncBN', requires_grad=True)),
                heads=[
                    dict(norm_cfg=dict(type='MMSyncBN')),
                    dict(norm_cfg=dict(type=nn.SyncBatchNorm)),
                    dict(norm_cfg=dict(type='GN', num_groups=2)),
                ],
            )
        )
    )
    assert replace_sync_bn(cfg.model)
    assert cfg.model == dict(
        type='SyncBN2',
        backbone=dict(norm_cfg=dict(type='BN', requires_grad=True)),
        heads=[
            dict(norm_cfg=dict(type='BN')),
            dict(norm_cfg=dict(type='BN')),
            dict(norm_cfg=dict(type='GN', num_groups=2)),
        ],
    )
    assert not replace_sync_bn(cfg.model)
    assert not replace_sync_bn(None)
