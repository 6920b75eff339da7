"""What every test can rely on: one thread, no state of the hosts left over, and tiny runs of both hosts."""

import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yapf  # noqa: F401, in a new environment it writes a cache, which two test processes at once would leave unreadable

ROOT = Path(__file__).parents[1]
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if 'gpu' in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))


@pytest.fixture(autouse=True)
def _fresh_hosts() -> Iterator[None]:
    yield
    forget_runs()


def forget_runs() -> None:
    """mmengine keeps loggers, scopes and message hubs by name and second for the life of the process."""
    if 'mmengine' not in sys.modules:
        return
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
    for kind in (DefaultScope, MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()


@pytest.fixture
def planted() -> torch.nn.Module:
    from planted import planted_net

    return planted_net()


@pytest.fixture
def hosts_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever `prepare_hosts` changes is put back after the test."""
    import mmengine.evaluator.metric
    import mmengine.hub.hub
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE
    from mmengine.fileio import file_client
    from mmengine.runner import CheckpointLoader, checkpoint

    for module, name in (
        (mmengine.logging, 'print_log'),
        (file_client, 'print_log'),
        (mmengine.evaluator.metric, 'print_log'),
        (mmengine.hub.hub, 'install_package'),
        (checkpoint, 'load_url'),
        (checkpoint, '_safe_torch_load'),
        (CheckpointLoader, '_schemes'),
    ):
        if hasattr(module, name):
            value = getattr(module, name)
            monkeypatch.setattr(module, name, value.copy() if isinstance(value, dict) else value)
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', MODULE2PACKAGE['mmseg'])
    monkeypatch.setattr(Config, '_get_cfg_path', staticmethod(Config._get_cfg_path))


@pytest.fixture
def tool(hosts_unchanged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], partial]:
    """Gives a subcommand, to be called with its arguments; the working directory is an empty one."""
    from mmposenc.cli import call

    def run(name: str, argv: list) -> None:
        forget_runs()
        call([*name.split(), *map(str, argv)])

    monkeypatch.chdir(tmp_path)
    return lambda name: partial(run, name)


@pytest.fixture
def classifier_config(tmp_path: Path) -> Path:
    """An ordinary mmpretrain config as a user has it: 14 dark and bright images, a ResNet-18 of 4 channels."""
    generator = np.random.default_rng(0)
    for split, counts in (('train', (8, 6)), ('val', (4, 3))):
        for name, brightness, count in zip(('bright', 'dark'), (200, 50), counts, strict=True):
            folder = tmp_path / 'images' / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.normal(brightness, 10, (16, 16, 3)).clip(0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f'{index}.png'), pixels)
    (tmp_path / 'tiny.py').write_text(CLASSIFIER.replace('ROOT', str(tmp_path / 'images')))
    return tmp_path / 'tiny.py'


@pytest.fixture
def segmenter_config(tmp_path: Path) -> Path:
    """An ordinary mmseg config as a user has it: 4 images whose left half is dark, two classes."""
    labels = np.repeat(np.array([[0, 1]], np.uint8), 16, axis=1).repeat(32, axis=0)
    generator = np.random.default_rng(0)
    for folder in ('images', 'labels'):
        (tmp_path / 'scenes' / folder).mkdir(parents=True)
    for index in range(4):
        pixels = labels[..., None] * 150 + generator.integers(0, 50, (32, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / 'scenes' / 'images' / f'{index}.png'), pixels)
        cv2.imwrite(str(tmp_path / 'scenes' / 'labels' / f'{index}.png'), labels)
    (tmp_path / 'tiny_seg.py').write_text(SEGMENTER.replace('ROOT', str(tmp_path / 'scenes')))
    return tmp_path / 'tiny_seg.py'


CLASSIFIER = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=32, loss=dict(type='CrossEntropyLoss'), topk=(1,)))
data_preprocessor = dict(num_classes=2, mean=[128, 128, 128], std=[64, 64, 64], to_rgb=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(batch_size=7, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='ROOT/train', pipeline=pipeline))
val_dataloader = dict(batch_size=3, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='ROOT/val', pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
randomness = dict(seed=0)
"""

SEGMENTER = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[128] * 3, std=[64] * 3, size=(32, 32)),
    backbone=dict(type='ResNetV1c', depth=18, base_channels=4, stem_channels=4, strides=(1, 1, 1, 1)),
    decode_head=dict(type='FCNHead', in_channels=32, in_index=3, channels=8, num_convs=1, num_classes=2,
        loss_decode=dict(type='CrossEntropyLoss')),
    test_cfg=dict(mode='whole'))
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='BaseSegDataset', metainfo=dict(classes=('dark', 'bright'), palette=[[0] * 3, [255] * 3]),
        data_root='ROOT', data_prefix=dict(img_path='images', seg_map_path='labels'), img_suffix='.png',
        pipeline=pipeline))
val_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=train_dataloader['dataset'])
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=8)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4))
randomness = dict(seed=0)
"""
