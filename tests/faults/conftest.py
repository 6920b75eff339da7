"""Configs of trainings that can be interrupted, and the runs of a test, none of which outlives it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import runs

# 5 iterations an epoch; shifts and order of the images are drawn on the main process.
WHOLE_BATCH = """
_base_ = 'mmposenc::augshift_r18_digits.py'
model = dict(backbone=dict(base_channels=2, stem_channels=2), head=dict(in_channels=16))
train_dataloader = dict(batch_size=16, dataset=dict(indices=90))
val_dataloader = dict(batch_size=16, dataset=dict(indices=40))
train_cfg = dict(max_epochs=3, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1))
"""
# 4 iterations an epoch, the last of 2 images; a flip is drawn on the main process; a schedule by epoch.
CLASSIFIER = """
_base_ = 'BASE'
pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=pipeline))
optim_wrapper = dict(optimizer=dict(momentum=0.9))
param_scheduler = dict(type='StepLR', step_size=1, gamma=0.5)
train_cfg = dict(max_epochs=3)
"""
SEGMENTER = """
_base_ = 'BASE'
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
optim_wrapper = dict(optimizer=dict(momentum=0.9))
param_scheduler = dict(type='PolyLR', end=12, by_epoch=False)
train_cfg = dict(max_iters=12, val_interval=4)
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., runs.Run]]:
    """Starts a command in an empty folder; what still runs at the end of the test is killed."""
    monkeypatch.chdir(tmp_path)
    started: list[runs.Run] = []

    def begin(*arguments: object, **environment: str) -> runs.Run:
        started.append(runs.Run(*arguments, environment=environment))
        return started[-1]

    yield begin
    for run in started:
        run.kill()


@pytest.fixture
def config(classifier_config: Path, segmenter_config: Path, tmp_path: Path) -> Callable[..., str]:
    """Writes a config `name` of a kind, whose losses go to `name.losses`, with further hooks."""
    texts = {
        'whole_batch': WHOLE_BATCH,
        'classifier': CLASSIFIER.replace('BASE', str(classifier_config)),
        'segmenter': SEGMENTER.replace('BASE', str(segmenter_config)),
    }

    def write(kind: str, name: str, *hooks: dict) -> str:
        hooks = (dict(type='LossRecord', path=str(tmp_path / f'{name}.losses')), *hooks)
        tail = f"custom_imports = dict(imports=['mmposenc', 'fault_hooks'])\ncustom_hooks = {list(hooks)}\n"
        path = tmp_path / f'{name}.py'
        path.write_text(texts[kind] + tail)
        return os.path.relpath(path)

    return write
