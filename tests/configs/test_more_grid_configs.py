"""The bounds beside Table 1, the probes, and the digits of the demo."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.models import build_classifier

from mmposenc.mm.models.location_probe import LocationProbe
from mmposenc.mm.models.sorted_pool_neck import SortedPoolNeck
from mmposenc.mm.models.sum_pool_neck import SumPoolNeck

CONFIGS = Path(__file__).parents[2] / 'configs'
SAME = ('train_dataloader', 'val_dataloader', 'data_preprocessor', 'train_cfg', 'default_hooks', 'randomness')


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


@pytest.mark.parametrize('grid_size', [3, 5, 7])
@pytest.mark.parametrize('net, neck, channels', [('sortnet', SortedPoolNeck, 512), ('sumnet', SumPoolNeck, 1)])
def test_a_bound_differs_from_permutenet_in_its_read_out_alone(grid_size: int, net: str, neck: type, channels: int):
    bound, permutenet = (load(f'{name}_r18_grid{grid_size}-location_cifar10') for name in (net, 'permutenet'))
    assert all(bound[key] == permutenet[key] for key in SAME)
    assert bound.model.backbone == permutenet.model.backbone
    assert bound.optim_wrapper.optimizer == permutenet.optim_wrapper.optimizer
    model = build_classifier(bound.model)
    assert isinstance(model.neck, neck)
    assert (model.head.in_channels, model.head.num_classes) == (channels, grid_size**2)


def test_the_sum_is_trained_in_float32():
    assert load('sumnet_r18_grid3-location_cifar10').optim_wrapper.type == 'OptimWrapper'


@pytest.mark.parametrize('task, classes', [('location', 9), ('category', 10)])
def test_both_nets_of_the_demo_are_trained_alike(task: str, classes: int):
    gapnet, permutenet = (load(f'{net}_r18_grid3-{task}_digits') for net in ('gapnet', 'permutenet'))
    keys = (*SAME, 'optim_wrapper', 'param_scheduler')
    assert all(gapnet[key] == permutenet[key] for key in keys)
    assert gapnet.model.backbone == permutenet.model.backbone
    assert gapnet.train_dataloader.dataset.task == task
    assert gapnet.param_scheduler.end == gapnet.train_cfg.max_epochs == gapnet.train_cfg.val_interval
    for config in (gapnet, permutenet):
        model = build_classifier(config.model)
        assert model.head.num_classes == classes
        assert sum(p.numel() for p in model.backbone.parameters()) < 200_000


def test_the_probe_reads_the_network_that_the_headline_trains():
    probe, headline = load('probe_r18_grid3-location_cifar10'), load('augshift_r18_cifar100')
    model = build_classifier(probe.model)
    assert isinstance(model, LocationProbe)
    weights = build_classifier(headline.model).backbone.state_dict()
    own = model.backbone.state_dict()
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in weights.items()}
    assert (probe.data_preprocessor.mean, probe.data_preprocessor.std) == (
        headline.data_preprocessor.mean,
        headline.data_preprocessor.std,
    )
    assert probe.model.checkpoint == f'work_dirs/augshift_r18_cifar100/epoch_{headline.train_cfg.max_epochs}.pth'


def test_the_torchvision_probe_reads_four_stages():
    config = load('probe_tv-r50_grid3-location_cifar10')
    assert config.model.backbone.weights == 'IMAGENET1K_V2'
    config.model.backbone.weights = None
    model = build_classifier(config.model)
    assert [conv.in_channels for conv in model.head.gap] == [256, 512, 1024, 2048]


@pytest.mark.parametrize('net', ['gapnet', 'permutenet'])
def test_the_first_pass_is_table_1_s_but_for_when_it_is_tested(net: str):
    first, whole = (load(f'{name}_r18_grid3-location_cifar10') for name in (f'{net}-onepass', net))
    assert all(first[key] == whole[key] for key in (*SAME[:3], 'model', 'optim_wrapper', 'randomness'))
    assert first.train_cfg.max_iters == 50000 // first.train_dataloader.batch_size
