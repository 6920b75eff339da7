import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample

from mmposenc.registry import MODELS


@pytest.fixture
def build():
    init_default_scope('mmpretrain')
    return lambda **config: MODELS.build(dict(type='mmposenc.BatchPreprocessor', **config))


def whole_batch(n=4, size=6):
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8)
    return dict(inputs=images, labels=torch.arange(n), indices=torch.arange(10, 10 + n))


def test_normalisation_by_hand(build):
    preprocessor = build(mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 5.0])
    batch = dict(
        inputs=torch.tensor([14, 12, 40], dtype=torch.uint8).reshape(1, 3, 1, 1),
        labels=torch.tensor([7]),
        indices=torch.tensor([3]),
    )
    out = preprocessor(batch, training=True)
    assert out['inputs'].flatten().tolist() == [2.0, -2.0, 2.0]


def test_training_packs_all_labels_into_one_sample(build):
    out = build()(whole_batch(), training=True)
    assert len(out['data_samples']) == 1
    assert out['data_samples'][0].gt_label.tolist() == [0, 1, 2, 3]


def test_testing_gives_one_sample_per_image(build):
    out = build(train_transforms=[dict(type='mmposenc.BatchTwoViews', transforms=[])])(whole_batch())
    assert out['inputs'].shape == (4, 3, 6, 6)
    assert [sample.gt_label.tolist() for sample in out['data_samples']] == [[0], [1], [2], [3]]
    assert [sample.sample_idx for sample in out['data_samples']] == [10, 11, 12, 13]


def test_transforms_run_in_their_phase_only(build):
    flip = dict(type='mmposenc.BatchRandomFlip', prob=1.0)
    batch = whole_batch()
    preprocessor = build(train_transforms=[flip])
    assert torch.equal(preprocessor(batch, training=True)['inputs'], batch['inputs'].float().flip(-1))
    assert torch.equal(preprocessor(batch)['inputs'], batch['inputs'].float())
    assert torch.equal(build(test_transforms=[flip])(batch)['inputs'], batch['inputs'].float().flip(-1))


def test_the_batch_that_came_in_is_untouched(build):
    batch = whole_batch()
    before = batch['inputs'].clone()
    build(mean=[1.0] * 3, std=[2.0] * 3, train_transforms=[dict(type='mmposenc.BatchRandomShift', max_shift=2)])(
        batch, training=True
    )
    assert torch.equal(batch['inputs'], before)


def test_whole_batch_and_single_samples_agree(build):
    batch = whole_batch()
    preprocessor = build(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)
    samples = [DataSample().set_gt_label(int(label)) for label in batch['labels']]
    stacked = preprocessor(dict(inputs=batch['inputs'], data_samples=samples))
    listed = preprocessor(dict(inputs=list(batch['inputs']), data_samples=samples))
    views = preprocessor(dict(inputs=[batch['inputs'], list(batch['inputs'])], data_samples=samples))
    expected = preprocessor(batch)['inputs']
    for got in (stacked['inputs'], listed['inputs'], *views['inputs']):
        assert torch.equal(got, expected)
    assert len(views['data_samples']) == 4


def test_channels_last(build):
    out = build(channels_last=True, train_transforms=[dict(type='mmposenc.BatchTwoViews', transforms=[])])(
        whole_batch(), training=True
    )
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in out['inputs'])
