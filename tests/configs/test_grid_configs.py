"""Table 1 by config: every leaf builds, says what its name says, and trains."""

import itertools
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models import build_classifier
from torch import nn

from mmposenc.host.patches import prepare_hosts
from mmposenc.mm.models.gap_logit_head import GAPLogitHead
from mmposenc.mm.models.permute_neck import PermuteNeck

CONFIGS = Path(__file__).parents[2] / 'configs'
TABLE1 = list(
    itertools.product(('gapnet', 'permutenet'), ('zeros', 'reflect', 'replicate'), (3, 5, 7), ('location', 'category'))
)


def leaf(net: str, padding: str, grid_size: int, task: str) -> Config:
    suffix = '' if padding == 'zeros' else f'-{padding}'
    return Config.fromfile(CONFIGS / f'{net}_r18{suffix}_grid{grid_size}-{task}_cifar10.py')


def test_there_are_36_leaves_and_no_others():
    names = {Path(leaf(*row).filename).name for row in TABLE1}
    assert len(names) == 36
    assert names == {path.name for net in ('gapnet', 'permutenet') for path in CONFIGS.glob(f'{net}_*_cifar10.py')}


@pytest.mark.parametrize('net, padding, grid_size, task', TABLE1)
def test_a_leaf_is_the_row_that_its_name_says(net: str, padding: str, grid_size: int, task: str):
    config = leaf(net, padding, grid_size, task)
    for loader, split in ((config.train_dataloader, 'train'), (config.val_dataloader, 'test')):
        dataset = loader.dataset
        assert (dataset.type, dataset.grid_size, dataset.task) == ('mmposenc.GridCIFAR10', grid_size, task)
        assert dataset.split == split
    assert config.test_dataloader == config.val_dataloader
    optimizer = config.optim_wrapper.optimizer
    assert (config.train_dataloader.batch_size, tuple(optimizer.betas)) == (48, (0.5, 0.999))
    assert (config.train_cfg.max_epochs, optimizer.lr) == ((20, 1e-3) if task == 'location' else (100, 1e-2))
    assert config.model.head.num_classes == (grid_size**2 if task == 'location' else 10)
    assert config.default_hooks.head_check.type == 'mmposenc.HeadCheckHook'
    assert config.default_hooks.logger.type == 'LoggerHook'


@pytest.mark.parametrize('padding', ['zeros', 'reflect', 'replicate'])
@pytest.mark.parametrize('net', ['gapnet', 'permutenet'])
def test_the_padding_reaches_the_whole_network(net: str, padding: str):
    init_default_scope('mmpretrain')
    model = build_classifier(leaf(net, padding, 3, 'location').model)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert {conv.padding_mode for conv in convs} == {padding}
    assert isinstance(model.head, GAPLogitHead) == (net == 'gapnet')
    assert isinstance(model.neck, PermuteNeck) == (net == 'permutenet')
    assert len(convs) == (21 if net == 'gapnet' else 20)


def small_runner(net: str, grid_size: int, work_dir: Path, **options) -> Runner:
    """The location leaf, an eighth as wide, on digits, for one epoch; tested on 100 digits in every cell."""
    config = leaf(net, 'zeros', grid_size, 'location')
    digits = {'_delete_': True, 'type': 'mmposenc.GridDigits', 'grid_size': grid_size}
    config.merge_from_dict(
        {
            'model.backbone.base_channels': 8,
            'model.backbone.stem_channels': 8,
            'model.head.in_channels': 64,
            'data_preprocessor.channels_last': False,
            'train_dataloader.dataset': {**digits, 'split': 'train'},
            'val_dataloader.dataset': {**digits, 'split': 'test'},
            'test_dataloader.dataset': {**digits, 'split': 'test', 'indices': 100, 'all_cells': True},
            'train_cfg.max_epochs': 1,
            'optim_wrapper': {'type': 'OptimWrapper'},
            'work_dir': str(work_dir),
            'experiment_name': work_dir.name,
            'log_level': 'ERROR',
            **options,
        }
    )
    return Runner.from_cfg(config)


def test_gapnet_locates_a_digit_where_permutenet_does_not(tmp_path: Path, hosts_unchanged: None):
    prepare_hosts()
    accuracy = {}
    for net in ('gapnet', 'permutenet'):
        runner = small_runner(net, 3, tmp_path / net)
        runner.train()
        accuracy[net] = runner.test()['accuracy/top1']
    assert accuracy['gapnet'] > 95
    assert accuracy['permutenet'] < 60  # chance is 11; one order per batch leaves the sum of the channels

    checkpoint = str(tmp_path / 'gapnet' / 'epoch_1.pth')
    with pytest.raises(ValueError, match='the checkpoint was trained for location on a 3x3 grid'):
        small_runner('gapnet', 5, tmp_path / 'other-grid', load_from=checkpoint).test()
    with pytest.raises(ValueError, match='num_classes must be 25'):
        small_runner('gapnet', 5, tmp_path / 'other-head', **{'model.head.num_classes': 9}).train()
