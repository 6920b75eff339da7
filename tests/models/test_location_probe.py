"""LocationProbe: a frozen backbone of any kind, read at every stage."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models import build_backbone, build_classifier
from mmpretrain.structures import DataSample
from torch import nn

from mmposenc.host.patches import prepare_hosts
from mmposenc.mm.models.location_probe import LocationProbe

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL = {'type': 'ResNet_CIFAR', 'depth': 18, 'base_channels': 4, 'stem_channels': 4, 'out_indices': (0, 1, 2, 3)}
READOUTS = ('gap', 'permute', 'sort')


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def probe(backbone: dict = SMALL, **arguments) -> LocationProbe:
    return build_classifier(
        {'type': 'mmposenc.LocationProbe', 'backbone': backbone, 'head': {'num_classes': 9}, **arguments}
    )


def save(path: Path, prefix: str = 'backbone.', **changes) -> str:
    """A checkpoint of a small classifier, as a training writes it."""
    torch.manual_seed(1)
    backbone = build_backbone({**SMALL, **changes})
    backbone.init_weights()
    for buffer in backbone.buffers():
        buffer.add_(1)
    weights = {f'{prefix}{key}': value for key, value in backbone.state_dict().items()}
    torch.save({'meta': {}, 'state_dict': {**weights, 'head.fc.weight': torch.ones(3)}}, path)
    return str(path)


def test_every_stage_of_an_mmpretrain_backbone_is_read():
    model = probe()
    assert [conv.in_channels for conv in model.head.gap] == [4, 8, 16, 32]
    logits = model(torch.rand(2, 3, 48, 48))
    assert list(logits) == [f'stage{i}/{kind}' for i in (1, 2, 3, 4) for kind in READOUTS]
    assert all(score.shape == (2, 9) for score in logits.values())


def test_layers_of_a_torchvision_network_are_read_and_no_hook_stays():
    model = probe({'type': 'torchvision.models.resnet18', 'weights': None}, layers=['layer4', 'layer1.0'])
    logits = model(torch.rand(2, 3, 64, 64))
    assert list(logits) == [f'{layer}/{kind}' for layer in ('layer4', 'layer1.0') for kind in READOUTS]
    assert [conv.in_channels for conv in model.head.gap] == [512, 64]
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(RuntimeError):
        model(torch.rand(2, 5, 64, 64))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_gives_what_the_stage_gives():
    model, image = probe(layers=['layer2', 'layer4']), torch.rand(1, 3, 48, 48)
    stages = model.backbone(image)
    for got, expected in zip(model.extract_feat(image), (stages[1], stages[3]), strict=True):
        assert torch.equal(got, expected)


def test_the_backbone_is_frozen_statistics_included():
    model = probe()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    labels = [DataSample().set_gt_label([0, 1])]
    sum(model.loss(torch.rand(2, 3, 48, 48), labels).values()).backward()
    optimizer.step()
    assert all(torch.equal(before[key], value) for key, value in model.backbone.state_dict().items())
    assert all(p.grad is not None for p in model.head.parameters())


def test_a_checkpoint_of_a_training_is_loaded_whole(tmp_path: Path):
    path = save(tmp_path / 'epoch_1.pth')
    model = probe(checkpoint=path)
    model.init_weights()
    saved = torch.load(path)['state_dict']
    state = model.backbone.state_dict()
    assert len(state) == len(saved) - 1
    assert all(torch.equal(value, saved[f'backbone.{key}']) for key, value in state.items())
    assert not model.backbone.layer1[0].bn1.training


def test_without_a_prefix_a_checkpoint_of_the_backbone_alone(tmp_path: Path):
    weights = nn.Conv2d(3, 2, 1).state_dict()
    torch.save(weights, tmp_path / 'conv.pth')
    layer = nn.Sequential(nn.Conv2d(3, 2, 1))
    model = LocationProbe(layer[0], {'num_classes': 9}, str(tmp_path / 'conv.pth'), prefix='')
    model.init_weights()
    assert torch.equal(model.backbone.weight, weights['weight'])


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'prefix': 'encoder.'}, r"holds nothing under prefix 'encoder\.'; its keys begin with: backbone, head"),
        ({'backbone': {**SMALL, 'depth': 34}}, r'another backbone than ResNet_CIFAR .* first layer1\.2\.'),
        ({'backbone': {**SMALL, 'base_channels': 8}}, r'another backbone .*of another shape'),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, arguments: dict, message: str):
    model = probe(**{'checkpoint': save(tmp_path / 'epoch_1.pth'), **arguments})
    with pytest.raises(ValueError, match=message):
        model.init_weights()


def test_a_missing_checkpoint(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        probe(checkpoint=str(tmp_path / 'nowhere.pth')).init_weights()


@pytest.mark.parametrize(
    'layer, message',
    [
        ('layer5', r"'layer5' does not exist in ResNet_CIFAR: .* the backbone itself, whose children are: conv1, bn1"),
        ('layer4.0.conv9', r"'layer4\.0\.conv9' .* is 'layer4\.0', whose children are: conv1, bn1"),
        ('', r"layer '' does not exist"),
    ],
)
def test_an_unknown_layer_is_named_with_what_there_is(layer: str, message: str):
    with pytest.raises(ValueError, match=message):
        probe(layers=[layer])


def test_a_stage_that_is_no_map_is_refused():
    transformer = {'type': 'VisionTransformer', 'arch': 'deit-tiny', 'img_size': 32, 'patch_size': 16}
    with pytest.raises(ValueError, match=r"stage 1 of VisionTransformer gives \(1, 192\); .*out_type='featmap'"):
        probe(transformer, image_size=32)


def small_config(name: str, tmp_path: Path, **options) -> Config:
    config = Config.fromfile(CONFIGS / name)
    digits = {'_delete_': True, 'type': 'mmposenc.GridDigits', 'grid_size': 3}
    config.merge_from_dict(
        {
            'data_preprocessor.channels_last': False,
            'train_dataloader.dataset': {**digits, 'split': 'train', 'indices': 960},
            'val_dataloader.dataset': {**digits, 'split': 'test', 'indices': 90},
            'test_dataloader.dataset': {**digits, 'split': 'test', 'indices': 90},
            'train_cfg.max_epochs': 2,
            'default_hooks.checkpoint.interval': 2,
            'optim_wrapper.optimizer.lr': 0.05,
            'optim_wrapper.type': 'OptimWrapper',
            'work_dir': str(tmp_path),
            'experiment_name': tmp_path.name,
            'log_level': 'ERROR',
            **options,
        }
    )
    return config


class Planted(nn.Module):
    """Stage 1: how far the image is from the empty canvas, four times. Stage 2: nine channels, one for each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(9.0))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        content = nn.functional.adaptive_avg_pool2d(images.abs(), 6).mean(1, keepdim=True)
        number = torch.arange(6) // 2
        masks = torch.stack([(number[:, None] == i // 3) & (number == i % 3) for i in range(9)])
        return content.expand(-1, 4, -1, -1), self.gain * content * masks


def test_the_leaf_trains_and_tells_stages_and_read_outs_apart(tmp_path: Path, hosts_unchanged: None):
    prepare_hosts()
    config = small_config('probe_r18_grid3-location_cifar10.py', tmp_path)
    config.model.backbone = {'_scope_': 'mmpretrain', 'type': f'{__name__}.Planted'}
    config.model.checkpoint = None
    Runner.from_cfg(config).train()
    config.merge_from_dict({'load_from': str(tmp_path / 'epoch_2.pth'), 'experiment_name': 'test'})
    accuracy = Runner.from_cfg(config).test()
    assert set(accuracy) == {f'stage{i}/{kind}' for i in (1, 2) for kind in READOUTS}
    assert accuracy['stage2/gap'] == 100
    assert all(value < 35 for name, value in accuracy.items() if name.startswith('stage1') or name == 'stage2/permute')
    assert accuracy['stage2/sort'] < 35  # Nine values, of which one is not 0: sorted, they are the same in each cell.
