"""The configs of Sec. 4.1: what they must have in common, and that a user's config becomes AugShift in five lines."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS, TRANSFORMS

from mmposenc.host.config import complete
from mmposenc.host.patches import prepare_hosts

CONFIGS = Path(__file__).parents[2] / 'configs'
TERMS = {'loss_view1', 'loss_view2', 'loss_mse'}
SAME = ('optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'test_cfg')


@pytest.fixture(autouse=True)
def _hosts(hosts_unchanged):
    prepare_hosts()


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def build(cfg):
    init_default_scope(cfg.default_scope)
    return MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})


def run(sample, pipeline):
    for transform in pipeline:
        sample = TRANSFORMS.build(transform)(sample)
    return sample


@pytest.mark.parametrize('data', ['cifar10', 'cifar100'])
def test_rows_of_table_2_differ_in_method_only(data):
    names = ['augshift_r18', 'augshift-lambda0_r18', 'augshift_r18-blurpool', 'baseline_r18', 'baseline_r18-blurpool']
    rows = {name: load(f'{name}_{data}') for name in names}
    baseline = rows['baseline_r18']
    for row in rows.values():
        assert all(row[same] == baseline[same] for same in SAME)
    shift = baseline.data_preprocessor.train_transforms[-1]
    for name, row in rows.items():
        transforms = row.data_preprocessor.train_transforms
        two_views = name.startswith('augshift')
        assert (row.model.type == 'mmposenc.AugShiftClassifier') == two_views
        assert (transforms[-1].transforms[0] if two_views else transforms[-1]) == shift
        assert (row.model.backbone.type == 'mmposenc.BlurPoolResNetCIFAR') == ('blurpool' in name)
    assert [rows[n].model.loss.mse_weight for n in names[:3]] == [10.0, 0.0, 10.0]
    if data == 'cifar10':
        narrow, baseline = load('augshift_r18-narrow_cifar10'), load('baseline_r18-narrow_cifar10')
        assert narrow.model.backbone == baseline.model.backbone
        assert all(narrow[same] == baseline[same] for same in SAME)
        one, two = (row.data_preprocessor.train_transforms[-1] for row in (baseline, narrow))
        assert two.transforms == [one]


@pytest.mark.parametrize('name', ['baseline_r18_imagenet', 'augshift_r18_imagenet'])
def test_imagenet_pipeline_trains_and_tests_one_image(name, tmp_path):
    """The per-sample path, from a JPEG to the loss and to Cons.8 and Cons.16."""
    cfg = load(name)
    path = str(tmp_path / 'image.jpg')
    cv2.imwrite(path, np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    model = build(cfg)
    sample, pipeline = {'img_path': path, 'gt_label': 3}, cfg.train_dataloader.dataset.pipeline
    data = default_collate([run(dict(sample), pipeline) for _ in range(2)])
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    assert set(losses) == (TERMS if name.startswith('augshift') else {'loss'})
    assert all(value.isfinite() for value in losses.values())
    assert run(sample, cfg.val_dataloader.dataset.pipeline)['inputs'].shape == (3, 256, 256)
    assert cfg.test_cfg.max_shifts == [8, 16]


def test_five_lines_make_a_users_config_augshift(tmp_path):
    """The snippet of the README, on top of mmpretrain's own CIFAR-10 config, gives Eq. 1's three terms."""
    (lines,) = re.findall(r"```python\n(_base_ = 'mmpretrain.*?)```", (CONFIGS.parent / 'README.md').read_text(), re.S)
    assert len(lines.splitlines()) == 1 + 5  # the first line names the user's own config
    (tmp_path / 'mine.py').write_text(lines)
    cfg = Config.fromfile(tmp_path / 'mine.py')
    model = build(cfg)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    samples = [dict(img=image, gt_label=label) for label, image in enumerate(images)]
    data = default_collate([run(sample, cfg.train_dataloader.dataset.pipeline) for sample in samples])
    prepared = model.data_preprocessor(data, training=True)
    assert [tuple(view.shape) for view in prepared['inputs']] == [(2, 3, 32, 32)] * 2
    losses = model(**prepared, mode='loss')
    assert set(losses) == TERMS
    assert losses['loss_mse'] > 0
    complete(cfg)
    assert dict(type='mmposenc.HeadCheckHook') in cfg.custom_hooks
