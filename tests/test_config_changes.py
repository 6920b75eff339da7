"""What the tools change in a config, and what of the user's they leave alone."""

from typing import Any

import pytest
from mmengine.config import Config

from mmposenc.config_changes import add_hook, fill_dataloaders, make_interruptible, replace_sync_bn, use_autocast


@pytest.mark.parametrize(
    'train_cfg, changed',
    [
        (dict(by_epoch=True, max_epochs=2), dict(type='mmposenc.ResumableEpochLoop', max_epochs=2)),
        (dict(max_epochs=2), dict(type='mmposenc.ResumableEpochLoop', max_epochs=2)),
        (dict(by_epoch=False, max_iters=2), dict(type='mmposenc.ResumableIterLoop', max_iters=2)),
        (dict(type='IterBasedTrainLoop', max_iters=2), dict(type='mmposenc.ResumableIterLoop', max_iters=2)),
        (dict(type='EpochBasedTrainLoop', max_epochs=2), dict(type='mmposenc.ResumableEpochLoop', max_epochs=2)),
        (dict(type='OwnLoop', max_epochs=2), dict(type='OwnLoop', max_epochs=2)),
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
        (dict(checkpoint=dict(type='OwnHook')), dict(checkpoint=dict(type='OwnHook'))),
        (dict(checkpoint=None), dict(checkpoint=None)),
    ],
)
def test_the_hosts_checkpoint_hook_becomes_an_atomic_one(before: dict, after: dict) -> None:
    cfg = Config(dict(default_hooks=before))
    make_interruptible(cfg)
    assert cfg.default_hooks == after


def test_hooks_are_added_once_and_the_users_stay() -> None:
    own = dict(type='mmposenc.StopSignalHook', signals=['SIGTERM'])
    cfg = Config(dict(custom_hooks=[own]))
    make_interruptible(cfg)
    add_hook(cfg, 'Another')
    make_interruptible(cfg)
    assert cfg.custom_hooks == [own, dict(type='mmposenc.RandomStateHook'), dict(type='Another')]


def test_bfloat16_replaces_the_ordinary_wrapper_only() -> None:
    for kind, expected in ((None, 'mmposenc.AutocastOptimWrapper'), ('AmpOptimWrapper', 'AmpOptimWrapper')):
        cfg = Config(dict(optim_wrapper=dict(type=kind) if kind else dict(optimizer=dict(type='SGD'))))
        use_autocast(cfg)
        assert cfg.optim_wrapper.type == expected
    with pytest.raises(ValueError, match='--amp replaces an optim_wrapper of type OptimWrapper, got Own'):
        use_autocast(Config(dict(optim_wrapper=dict(type='Own'))))


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
                heads=[dict(norm_cfg=dict(type='MMSyncBN')), dict(norm_cfg=dict(type='GN', num_groups=2))],
            )
        )
    )
    assert replace_sync_bn(cfg.model)
    assert cfg.model == dict(
        type='SyncBN2',
        backbone=dict(norm_cfg=dict(type='BN', requires_grad=True)),
        heads=[dict(norm_cfg=dict(type='BN')), dict(norm_cfg=dict(type='GN', num_groups=2))],
    )
    assert not replace_sync_bn(cfg.model)
    assert not replace_sync_bn(None)
