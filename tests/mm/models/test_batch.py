"""Whole batches: normalised, transformed, mixed; equal to mmpretrain's per-sample path where both apply."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmpretrain.models import ClsDataPreprocessor, LinearClsHead
from mmpretrain.structures import DataSample

from mmposenc.mm.models import BatchRandomFlip, BatchTwoViews
from mmposenc.registry import MODELS, TRANSFORMS
from mmposenc.shifts import shift_images

TWO_VIEWS = dict(type='mmposenc.BatchTwoViews', transforms=[])
MIXUP = dict(augments=dict(type='Mixup', alpha=0.8))


def build(**config):
    init_default_scope('mmpretrain')
    return MODELS.build(dict(type='mmposenc.BatchPreprocessor', **config))


def whole_batch(n=4, size=6):
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8)
    return dict(inputs=images, labels=torch.arange(n), indices=torch.arange(10, 10 + n))


def samples_of(batch):
    return dict(inputs=batch['inputs'], data_samples=[DataSample().set_gt_label(int(i)) for i in batch['labels']])


def test_all_labels_in_one_sample_in_training_and_one_sample_per_image_in_testing():
    preprocessor = build(train_transforms=[TWO_VIEWS])
    (sample,) = preprocessor(whole_batch(), training=True)['data_samples']
    assert sample.gt_label.tolist() == [0, 1, 2, 3]
    out = preprocessor(whole_batch())
    assert out['inputs'].shape == (4, 3, 6, 6)
    assert [sample.gt_label.tolist() for sample in out['data_samples']] == [[0], [1], [2], [3]]
    assert [sample.sample_idx for sample in out['data_samples']] == [10, 11, 12, 13]


def test_transforms_run_in_their_phase_only():
    flip = dict(type='mmposenc.BatchRandomFlip', prob=1.0)
    batch = whole_batch()
    before = batch['inputs'].clone()
    preprocessor = build(train_transforms=[flip])
    assert torch.equal(preprocessor(batch, training=True)['inputs'], before.float().flip(-1))
    assert torch.equal(preprocessor(batch)['inputs'], before.float())
    assert torch.equal(build(test_transforms=[flip])(batch)['inputs'], before.float().flip(-1))
    vertical = {**flip, 'direction': 'vertical'}
    assert torch.equal(build(test_transforms=[vertical])(batch)['inputs'], before.float().flip(-2))
    build(mean=[1.0] * 3, std=[2.0] * 3)(batch)
    assert torch.equal(batch['inputs'], before)
    assert torch.equal(build(test_transforms=[{**flip, 'prob': 0.0}])(batch)['inputs'], before.float())


def test_whole_batch_and_single_samples_agree():
    batch = whole_batch()
    preprocessor = build(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)
    samples = samples_of(batch)['data_samples']
    stacked = preprocessor(dict(inputs=batch['inputs'], data_samples=samples))
    listed = preprocessor(dict(inputs=list(batch['inputs']), data_samples=samples))
    views = preprocessor(dict(inputs=[batch['inputs'], list(batch['inputs'])], data_samples=samples))
    expected = preprocessor(batch)['inputs']
    mean, std = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).view(2, 3, 1, 1)
    torch.testing.assert_close(expected, (batch['inputs'].flip(1) - mean) / std)
    for got in (stacked['inputs'], listed['inputs'], *views['inputs']):
        assert torch.equal(got, expected)
    assert len(views['data_samples']) == 4


def test_views_batches_and_samples_may_be_channels_last():
    preprocessor = build(channels_last=True, train_transforms=[TWO_VIEWS])
    views = preprocessor(whole_batch(), training=True)['inputs']
    tested = [preprocessor(batch)['inputs'] for batch in (whole_batch(), samples_of(whole_batch()))]
    for images in (*views, *tested):
        assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
def test_label_mixing_equals_mmpretrain_and_reaches_the_heads_loss(kind):
    """The same random numbers give the same images, scores and loss as mmpretrain's own preprocessor."""
    mixing = dict(augments=dict(type=kind, alpha=0.8))
    config = dict(num_classes=5, mean=[9.0] * 3, std=[3.0] * 3, batch_augments=mixing)
    init_default_scope('mmpretrain')
    batch = whole_batch(8) | {'labels': torch.arange(8) % 5}
    head = LinearClsHead(5, 3)
    results = []
    for preprocessor, data in ((build(**config), batch), (ClsDataPreprocessor(**config), samples_of(batch))):
        np.random.seed(3)
        torch.manual_seed(3)
        out = preprocessor(data, training=True)
        loss = head.loss((out['inputs'].mean((2, 3)),), out['data_samples'])['loss']
        results.append((out['inputs'], torch.stack([s.gt_score for s in out['data_samples']]), loss))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.equal(results[0][1], F.one_hot(batch['labels'], 5).float())
    assert torch.equal(build(**config)(batch)['inputs'], (batch['inputs'] - 9.0) / 3)
    alone = build(to_onehot=True, num_classes=8)(whole_batch(8), training=True)['data_samples']
    assert torch.equal(torch.stack([sample.gt_score for sample in alone]), torch.eye(8))


def test_flip_is_shared_and_position_is_not():
    """Undoing the shift of both views must give the same, perhaps mirrored, image."""
    torch.manual_seed(0)
    images = torch.zeros(64, 1, 9, 9)
    images[:, :, 4, 3:6] = torch.tensor([1.0, 2.0, 3.0])  # a row that shows its handedness and its place
    shift = dict(type='mmposenc.BatchRandomShift', max_shift=2)
    two_views = TRANSFORMS.build(dict(type='mmposenc.BatchTwoViews', transforms=[shift]))
    batch = two_views(BatchRandomFlip(0.5)({'inputs': images, 'labels': torch.arange(64)}))
    assert batch['labels'].tolist() == list(range(64))
    first, second = batch['inputs']
    centre = torch.stack([view.eq(2).nonzero()[:, 2:] for view in (first, second)])
    aligned = [shift_images(view, 4 - c, max_shift=2) for view, c in zip((first, second), centre, strict=True)]
    assert torch.equal(*aligned)
    mirrored = aligned[0][:, 0, 4, 3] == 3
    assert 16 < mirrored.sum() < 48
    assert (centre[0] != centre[1]).any(1).sum() > 48  # 24 of 25 pairs differ on average


def call(data=None, training=False, **config):
    return lambda: build(**config)(data or whole_batch(), training)


SAMPLES = samples_of(whole_batch())
VIEWS = {**SAMPLES, 'inputs': [SAMPLES['inputs']] * 2}
SHIFT = dict(type='mmposenc.BatchRandomShift')


@pytest.mark.parametrize('call, message', [
    (call(training=True, batch_augments=MIXUP, num_classes=4, train_transforms=[TWO_VIEWS]), 'got several views'),
    (call(VIEWS, True, batch_augments=MIXUP, num_classes=4), 'mix the labels of one view, got several views'),
    (call(training=True, batch_augments=MIXUP), r'need num_classes in data_preprocessor'),
    (call(pad_size_divisor=8), 'pad_size_divisor must be 1 for whole batches, got 8'),
    (call(SAMPLES, True, train_transforms=[TWO_VIEWS]), 'train_transforms act on whole batches.*MultiView'),
    (call(SAMPLES, test_transforms=[TWO_VIEWS]), 'test_transforms act on whole batches'),
    (lambda: BatchRandomFlip(direction='diagonal'), "direction must be horizontal or vertical, got 'diagonal'"),
    (lambda: BatchRandomFlip(1.5), r'prob must lie in \[0, 1\], got 1.5'),
    (lambda: TRANSFORMS.build({**SHIFT, 'max_shift': 0}), 'at least 1 px, got 0'),
    (lambda: TRANSFORMS.build({**SHIFT, 'fill': 'wrap'}), "reflect, replicate, got 'wrap'"),
    (lambda: BatchTwoViews([dict(type='mmposenc.BatchRandomFlip', prob=-1)]), 'prob must lie'),
])  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
