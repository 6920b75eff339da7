import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import MultiView, PackInputs
from mmpretrain.structures import DataSample

from mmposenc.registry import MODELS

BACKBONE = dict(type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4)
HEAD = dict(type='LinearClsHead', num_classes=3, in_channels=32)


def build(**changes):
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    config = dict(
        type='mmposenc.AugShiftClassifier', backbone=BACKBONE, neck=dict(type='GlobalAveragePooling'), head=HEAD
    )
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
    expected = torch.nn.functional.cross_entropy(scores[4:], labels)
    torch.testing.assert_close(losses['loss_view2'], expected)
    torch.testing.assert_close(losses['loss_mse'], 3 * (pooled[:4] - pooled[4:]).pow(2).mean())


def test_labels_of_a_whole_batch_travel_in_one_sample():
    model = build().eval()
    views = [torch.rand(4, 3, 16, 16)] * 2
    many = model.loss(views, labelled(0, 2, 1, 1))
    one = model.loss(views, labelled(torch.tensor([0, 2, 1, 1])))
    assert all(torch.equal(many[name], one[name]) for name in many)


def test_testing_is_an_ordinary_classifier():
    model = build().eval()
    image = torch.rand(2, 3, 16, 16)
    predicted = model(image, labelled(0, 1), mode='predict')
    assert [p.pred_label.item() for p in predicted] == model(image, mode='tensor').argmax(1).tolist()


def test_trains_on_mmpretrains_per_sample_two_views():
    model = build()
    transforms = [MultiView(num_views=2, transforms=[[dict(type='RandomCrop', crop_size=16, padding=4)]]), PackInputs()]
    samples = []
    for label in range(3):
        sample = dict(img=torch.randint(0, 256, (16, 16, 3), dtype=torch.uint8).numpy(), gt_label=label)
        for transform in transforms:
            sample = transform(sample)
        samples.append(sample)
    data = model.data_preprocessor(default_collate(samples), training=True)
    assert [tuple(view.shape) for view in data['inputs']] == [(3, 3, 16, 16)] * 2
    losses = model(**data, mode='loss')
    assert losses['loss_mse'] > 0


def test_timm_backbone():
    backbone = dict(type='TIMMBackbone', model_name='resnet18', features_only=False, pretrained=False)
    model = build(backbone=backbone, head={**HEAD, 'in_channels': 512})
    losses = model.loss([torch.rand(2, 3, 32, 32)] * 2, labelled(0, 1))
    assert losses['loss_mse'] == 0


@pytest.mark.parametrize(
    'inputs, got',
    [
        (torch.rand(4, 3, 16, 16), 'one tensor of shape \\(4, 3, 16, 16\\)'),
        ([torch.rand(4, 3, 16, 16)], '1 views'),
        ([torch.rand(4, 3, 16, 16)] * 3, '3 views'),
    ],
)
def test_not_two_views(inputs, got):
    with pytest.raises(ValueError, match=f'exactly two views of each image, got {got}.*BatchTwoViews'):
        build().loss(inputs, labelled(0, 1, 2, 0))


def test_feature_that_is_not_pooled():
    with pytest.raises(ValueError, match=r'shape \(N, C\), got \(4, 32, 2, 2\).*GlobalAveragePooling'):
        build(neck=None).loss([torch.rand(2, 3, 16, 16)] * 2, labelled(0, 1))


def test_label_mixing_augmentation():
    with pytest.raises(ValueError, match='remove train_cfg'):
        build(train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)))
