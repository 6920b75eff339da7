"""AugShiftClassifier: Eq. 1 of one forward, on the networks and heads that mmpretrain's configs have."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from mmposenc.registry import MODELS

BACKBONE = dict(type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4)
HEAD = dict(type='LinearClsHead', num_classes=3, in_channels=32)
GAP = dict(type='GlobalAveragePooling')


def build(**changes):
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    config = dict(type='mmposenc.AugShiftClassifier', backbone=BACKBONE, neck=GAP, head=HEAD)
    return MODELS.build({**config, **changes})


def labelled(*labels):
    return [DataSample().set_gt_label(label) for label in labels]


def test_loss_is_eq_1_of_one_concatenated_forward():
    model = build(loss=dict(type='mmposenc.AugShiftLoss', mse_weight=3.0))
    views = [torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)]
    labels = torch.tensor([0, 2, 1, 1])
    losses = model.loss(views, labelled(0, 2, 1, 1))
    pooled = model.backbone(torch.cat(views))[-1].mean((2, 3))
    scores = pooled @ model.head.fc.weight.T + model.head.fc.bias
    torch.testing.assert_close(losses['loss_view2'], F.cross_entropy(scores[4:], labels))
    torch.testing.assert_close(losses['loss_mse'], 3 * (pooled[:4] - pooled[4:]).pow(2).mean())
    one = model.loss(views, labelled(labels))  # the labels of a whole batch travel in one sample
    assert all(torch.equal(losses[name], one[name]) for name in losses)


SMALL = {
    'convnext/convnext-tiny_32xb128_in1k': dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 16]),
    'swin_transformer/swin-tiny_16xb64_in1k': dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]),
    'deit/deit-tiny_4xb256_in1k': dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16),
}
WIDTH = {'swin': 64}


@pytest.mark.parametrize('name', SMALL)
def test_modern_configs_keep_their_own_loss(name, tmp_path):
    """A config of mmpretrain with `type` exchanged; its architecture shrunk. Label smoothing acts on both views."""
    model = "dict(type='mmposenc.AugShiftClassifier', loss=dict(type='mmposenc.AugShiftLoss', mse_weight=10.0))"
    (tmp_path / 'mine.py').write_text(f"_base_ = 'mmpretrain::{name}.py'\nmodel = {model}\n")
    cfg = Config.fromfile(tmp_path / 'mine.py')
    cfg.model.backbone.arch = SMALL[name]
    if 'img_size' in cfg.model.backbone:
        cfg.model.backbone.img_size = 32
    if name.startswith('swin'):
        cfg.model.backbone.pad_small_map = True
    cfg.model.head.update(in_channels=WIDTH.get(name[:4], 16), num_classes=5)
    config = {'neck': None, **cfg.model, 'data_preprocessor': cfg.data_preprocessor}
    if cfg.model.get('train_cfg'):
        with pytest.warns(UserWarning, match='one label per image and trains without the batch augmentations .*Mixup'):
            model = build(**config)
    else:
        model = build(**config)
    assert model.data_preprocessor.batch_augments is None
    model.eval()
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter)  # a ViT's start at zero
    views = [torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)]
    losses = model.loss(views, labelled(3, 1))
    scores = model(views[1], mode='tensor')
    pooled = [model.head.pre_logits(model.extract_feat(view)) for view in views]
    assert pooled[0].ndim == 2
    smoothing = {'original': 0.1, 'classy_vision': 0.1 / 1.1}[cfg.model.head.loss['mode']]
    smooth = F.cross_entropy(scores, torch.tensor([3, 1]), label_smoothing=smoothing)
    torch.testing.assert_close(losses['loss_view2'], smooth)
    torch.testing.assert_close(losses['loss_mse'], 10 * F.mse_loss(*pooled))


def test_z_is_what_the_last_layer_took():
    """Not a second draw of the dropout before it: views that are equal there are equal in the loss."""
    stack = dict(type='StackedLinearClsHead', mid_channels=[16], dropout_rate=0.5, act_cfg=None)
    model = build(head={**HEAD, **stack})
    taken = []
    model.head.fc.register_forward_pre_hook(lambda module, args: taken.append(args[0]))
    losses = model.loss([torch.rand(4, 3, 16, 16)] * 2, labelled(0, 1, 2, 0))
    assert len(taken) == 1
    assert losses['loss_mse'] == 10 * F.mse_loss(*taken[0].chunk(2)) != 0
    assert 'pre_logits' not in vars(model.head)


@pytest.mark.parametrize('option', ['use_sigmoid', 'use_soft'])
def test_a_loss_of_scores_takes_the_labels_as_scores(option):
    model = build(head={**HEAD, 'loss': {'type': 'CrossEntropyLoss', option: True}}).eval()
    view, labels = torch.rand(4, 3, 16, 16), torch.tensor([0, 2, 1, 1])
    samples = [DataSample().set_gt_score(score) for score in F.one_hot(labels, 3).float()]
    expected = model.head.loss(model.extract_feat(view), samples)['loss']
    torch.testing.assert_close(model.loss([view, view], labelled(0, 2, 1, 1))['loss_view1'], expected)


def test_label_mixing_of_the_preprocessor_is_dropped_with_a_warning():
    with pytest.warns(UserWarning, match='trains without the batch augmentations'):
        model = build(data_preprocessor=dict(batch_augments=dict(augments=dict(type='Mixup', alpha=0.2))))
    assert model.data_preprocessor.batch_augments is None


IMAGES = torch.rand(4, 3, 16, 16)
MIXING = ClsDataPreprocessor(batch_augments=dict(augments=lambda x, y: (x, y)))
OTHER_HEADS = 'DeiTClsHead', 'LeViTClsHead', 'EfficientFormerClsHead', 'ArcFaceClsHead', 'MultiLabelLinearClsHead'


@pytest.mark.parametrize('changes, inputs, message', [
    ({}, IMAGES, r'two views of each image, got one tensor of shape \(4, 3, 16, 16\).*BatchTwoViews'),
    ({}, [IMAGES], 'exactly two views of each image, got 1 views'),
    ({}, [IMAGES[:3]] * 2, 'one label per image, got 4 of 3'),
    ({'neck': None}, [IMAGES] * 2, r'shape \(N, C\), got \(8, 32, 2, 2\).*GlobalAveragePooling'),
    *(({'head': {**HEAD, 'type': kind}}, [], f'one vector .*, got {kind}; give head=') for kind in OTHER_HEADS),
    ({'data_preprocessor': MIXING}, [], 'leave batch_augments out of the preprocessor'),
])  # fmt: skip
def test_bad_input(changes, inputs, message):
    with pytest.raises(ValueError, match=message):
        build(**changes).loss(inputs, labelled(0, 1, 2, 0))
