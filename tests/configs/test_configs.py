"""Every config resolves and builds what its name says; configs that are compared differ in what is compared alone."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mmengine.registry as roots
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmposenc.cli.experiments import EXPERIMENTS
from mmposenc.grids.necks import PermuteNeck, SortedPoolNeck, SumPoolNeck
from mmposenc.host.checkpoints import read_checkpoint
from mmposenc.host.config import read_config
from mmposenc.host.patches import prepare_hosts
from mmposenc.layers import find_module, pooled_features

ROOT = Path(__file__).parents[2]
# Those of detectors need mmdet: tests/mm/test_detection.py.
NAMES = sorted(path.stem for path in (ROOT / 'configs').glob('*.py') if not path.stem.startswith('retinanet'))
CLASSES = dict(cifar10=10, cifar100=100, digits=10, imagenet=1000, cityscapes=19, camvid=11, digitscenes=8)
SAME = ('train_dataloader', 'val_dataloader', 'data_preprocessor', 'train_cfg', 'default_hooks', 'randomness')


@pytest.fixture(autouse=True)
def _hosts(hosts_unchanged: None) -> None:
    prepare_hosts()


def load(name: str) -> Config:
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


def build(cfg: Config) -> nn.Module:
    """The model of a config, without memory or initial values."""
    preprocessor = {'data_preprocessor': cfg.data_preprocessor} if 'data_preprocessor' in cfg else {}
    pretrained = {'pretrained': None} if cfg.default_scope == 'mmseg' else {}
    linspace = patch('torch.linspace', partial(torch.linspace, device='cpu'))  # mmpretrain reads numbers from it
    with torch.device('meta'), linspace, roots.MODELS.switch_scope_and_registry(None) as models:
        return models.build({**cfg.model, **preprocessor, **pretrained}).eval()


def types(part: Any) -> Iterator[str]:
    """Every `type` in a config."""
    if isinstance(part, dict):
        if isinstance(part.get('type'), str):
            yield part['type']
        part = list(part.values())
    if isinstance(part, list | tuple):
        for item in part:
            yield from types(item)


def is_known(name: str) -> bool:
    for root in vars(roots).values():
        if isinstance(root, Registry):
            with root.switch_scope_and_registry(None) as registry:
                if registry.get(name) is not None:
                    return True
    return False


@pytest.mark.parametrize('name', NAMES)
def test_every_config_builds_a_network_with_the_classes_of_its_data(name: str) -> None:
    cfg = load(name)
    assert [kind for kind in sorted(set(types(cfg.to_dict()))) if not is_known(kind)] == []
    grid = re.search(r'grid(\d)-(location|category)', name)
    classes, size = CLASSES[name.split('_')[-1]], 64
    if grid:
        cells = int(grid[1])
        classes, size = (cells**2 if grid[2] == 'location' else classes), 32 * cells
        for loader, split in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'test')):
            assert (loader.dataset.grid_size, loader.dataset.task, loader.dataset.split) == (cells, grid[2], split)
    model = build(cfg)
    images = torch.rand(2, 3, size, size, device='meta')
    assert model(images, mode='tensor').shape[:2] == (2, classes)
    assert cfg.test_dataloader.dataset.type == cfg.train_dataloader.dataset.type


# Table 1: GAPNet and PermuteNet, as `mmposenc reproduce` runs them.

TABLE1 = {e.name: e for e in EXPERIMENTS if re.match('table1-.*(gapnet|permutenet)', e.name)}


def test_table_1_has_36_rows_and_no_other_config() -> None:
    assert len(TABLE1) == 36
    used = {re.search(r'::([\w-]+).py', e.commands[0])[1] for e in TABLE1.values()}  # type: ignore[index]
    assert used == {name for name in NAMES if re.match('(gapnet|permutenet)_.*cifar10', name)}


@pytest.mark.parametrize('name', TABLE1)
def test_a_row_of_table_1_has_the_papers_hyper_parameters_and_its_padding(name: str) -> None:
    _, task, padding, net, grid = name.split('-')
    words = TABLE1[name].commands[0].format(seed=1, out='').split()
    cfg = read_config(words[1], words[words.index('--cfg-options') + 1 :])
    init_default_scope(cfg.default_scope)
    assert Path(cfg.filename).stem == leaf(net, int(grid[0]), task)
    optimizer = cfg.optim_wrapper.optimizer
    assert (cfg.train_dataloader.batch_size, tuple(optimizer.betas)) == (48, (0.5, 0.999))
    assert (cfg.train_cfg.max_epochs, optimizer.lr) == ((20, 1e-3) if task == 'location' else (100, 1e-2))
    assert cfg.default_hooks.head_check.type == 'mmposenc.HeadCheckHook'
    model = build(cfg)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert {conv.padding_mode for conv in convs} == {padding}
    assert len(convs) == (21 if net == 'gapnet' else 20)
    assert isinstance(model.neck, PermuteNeck) == (net == 'permutenet')


def leaf(net: str, grid_size: int, task: str) -> str:
    return f'{net}_r18_grid{grid_size}-{task}_cifar10'


@pytest.mark.parametrize('grid_size', [3, 5, 7])
@pytest.mark.parametrize('net, neck, channels', [('sortnet', SortedPoolNeck, 512), ('sumnet', SumPoolNeck, 1)])
def test_other_read_outs_differ_from_permutenet_in_that_alone(
    net: str, neck: type, channels: int, grid_size: int
) -> None:
    other, permutenet = (load(leaf(name, grid_size, 'location')) for name in (net, 'permutenet'))
    assert all(other[key] == permutenet[key] for key in SAME)
    assert other.model.backbone == permutenet.model.backbone
    assert other.optim_wrapper.optimizer == permutenet.optim_wrapper.optimizer
    assert net == 'sortnet' or other.optim_wrapper.type == 'OptimWrapper', 'float32'
    model = build(other)
    assert isinstance(model.neck, neck)
    assert model.head.in_channels == channels


@pytest.mark.parametrize('net', ['gapnet', 'permutenet'])
def test_one_pass_is_the_row_of_table_1_but_for_when_it_is_tested(net: str) -> None:
    first, whole = load(f'{net}-onepass_r18_grid3-location_cifar10'), load(leaf(net, 3, 'location'))
    assert all(first[key] == whole[key] for key in (*SAME[:3], 'model', 'optim_wrapper', 'randomness'))
    assert first.train_cfg.max_iters == 50000 // first.train_dataloader.batch_size


@pytest.mark.parametrize('task', ['location', 'category'])
def test_both_networks_of_the_demo_are_trained_alike(task: str) -> None:
    gapnet, permutenet = (load(f'{net}_r18_grid3-{task}_digits') for net in ('gapnet', 'permutenet'))
    assert all(gapnet[key] == permutenet[key] for key in (*SAME, 'optim_wrapper', 'param_scheduler'))
    assert gapnet.model.backbone == permutenet.model.backbone
    assert gapnet.param_scheduler.end == gapnet.train_cfg.max_epochs == gapnet.train_cfg.val_interval


def small_runner(net: str, grid_size: int, work_dir: Path, **options: Any) -> Runner:
    """The location row, an eighth as wide, on digits, for one epoch; tested on 100 digits in every cell."""
    cfg = load(leaf(net, grid_size, 'location'))
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.head.in_channels, cfg.data_preprocessor.channels_last, cfg.train_cfg.max_epochs = 64, False, 1
    digits = dict(type='mmposenc.GridDigits', grid_size=grid_size)
    cfg.train_dataloader.dataset = dict(**digits, split='train')
    cfg.val_dataloader.dataset = dict(**digits, split='test')
    cfg.test_dataloader.dataset = dict(**digits, split='test', indices=100, all_cells=True)
    cfg.optim_wrapper.type = 'OptimWrapper'
    cfg.merge_from_dict(dict(work_dir=str(work_dir), experiment_name=work_dir.name, log_level='ERROR', **options))
    return Runner.from_cfg(cfg)


def test_gapnet_locates_a_digit_where_permutenet_does_not(tmp_path: Path) -> None:
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


# Sec. 4.2: segmentation and ablation.

DEEPLAB = [name for name in NAMES if name.startswith('deeplabv3')]
ABLATED = [name for name in NAMES if '_ablate-' in name]


@pytest.mark.parametrize('name', DEEPLAB)
def test_networks_are_tested_on_whole_images_by_region_at_their_output_stride(name: str) -> None:
    cfg = load(name)
    assert cfg.model.test_cfg.mode == 'whole'
    assert cfg.test_evaluator.type == cfg.val_evaluator.type == 'mmposenc.RegionIoUMetric'
    assert cfg.test_dataloader.dataset.pipeline[-1].type == 'PackSegInputs'
    if name not in ABLATED:
        stride = 16 if 'os16' in name or 'camvid' in name else 8
        channels = 128 if 'r18' in name else 2048
        model, images = build(cfg), torch.rand(1, 3, 64, 128, device='meta')
        assert model.backbone(images)[-1].shape == (1, channels, 64 // stride, 128 // stride)
        assert pooled_features(model, 'decode_head.image_pool.0', images).shape == (1, channels)


def test_cityscapes_is_the_network_of_the_zoo(tmp_path: Path) -> None:
    (tmp_path / 'stock.py').write_text("_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb2-80k_cityscapes-512x1024.py'\n")
    stock, own = Config.fromfile(tmp_path / 'stock.py'), load('deeplabv3_r50_cityscapes')
    assert own.model == stock.model
    assert own.test_dataloader == stock.test_dataloader


@pytest.mark.parametrize('name', ABLATED)
def test_an_ablated_network_is_its_base_with_one_hook(name: str) -> None:
    cfg, base = load(name), load(re.sub('_ablate-[a-z]+', '', name))
    (hook,) = cfg.custom_hooks
    assert hook.type == 'mmposenc.ChannelAblationHook'
    layer = re.search('_ablate-([a-z]+)', name)[1]
    assert hook.layer == {'pool': 'decode_head.image_pool.0', 'backbone': 'backbone[-1]', 'neck': 'neck'}[layer]
    assert hook.ranking == f'work_dirs/{Path(base.filename).stem}/ranking.json'
    assert (cfg.model, cfg.test_dataloader) == (base.model, base.test_dataloader)
    find_module(build(cfg), hook.layer)


TINY_UPERNET = """
_base_ = 'BASE'
model = dict(decode_head=dict(_delete_=True, type='UPerHead', in_channels=[4, 8, 16, 32], in_index=[0, 1, 2, 3],
    pool_scales=(1, 2), channels=8, num_classes=2, loss_decode=dict(type='CrossEntropyLoss')))
"""


def test_the_documented_lines_ablate_a_stock_upernet(tool: Callable, segmenter_config: Path, capsys) -> None:
    snippet = (ROOT / 'docs' / 'snippets' / 'ablated_upernet_r50_ade20k.py').read_text()
    assert f'```python no-run\n{snippet}```' in (ROOT / 'docs' / 'guides' / 'segmentation.md').read_text()
    Path('stock.py').write_text(snippet)
    assert Config.fromfile('stock.py').model.decode_head.type == 'UPerHead'
    Path('upernet.py').write_text(TINY_UPERNET.replace('BASE', str(segmenter_config)))
    Path('ours.py').write_text(
        re.sub("mmseg::[^']*", 'upernet.py', snippet).replace('num_channels=100', 'num_channels=10')
    )
    cfg = Config.fromfile('upernet.py')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    with roots.MODELS.switch_scope_and_registry(None) as models:
        torch.save({'state_dict': models.build(cfg.model).state_dict()}, 'weights.pth')
    tool('rank')(['upernet.py', 'weights.pth', '--out', 'ranking.json'])
    tool('test')(['ours.py', 'weights.pth'])
    out = capsys.readouterr().out
    assert re.search('10 of 32 channels of backbone', out)
    assert all(f'{region}/mIoU ' in out.splitlines()[-1] for region in ('left', 'center', 'right', 'overall')), out


# A config of pure Python, whose types are imported classes.

IMPORTS = """
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from mmpretrain.datasets import CustomDataset, PackInputs
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import CrossEntropyLoss, ImageClassifier, LinearClsHead, ResNet
from torch.optim import SGD

from mmposenc.grids.necks import SortedPoolNeck
from mmposenc.mm.hooks import ProgressBarHook
"""
RUNTIME = """
train_cfg, val_cfg, test_cfg = dict(type=EpochBasedTrainLoop, max_epochs=2), dict(type=ValLoop), dict(type=TestLoop)
default_hooks = dict(
    timer=dict(type=IterTimerHook), logger=dict(type=LoggerHook), param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=CheckpointHook, interval=1), sampler_seed=dict(type=DistSamplerSeedHook))
custom_hooks = [dict(type=ProgressBarHook)]
"""


def test_a_config_of_classes_trains_to_the_same_bits_as_by_name_and_every_command_accepts_it(
    tool: Callable, classifier_config: Path, capsys: pytest.CaptureFixture
) -> None:
    by_class, text = classifier_config.with_name('by_class.py'), classifier_config.read_text()
    sorted_pool = text.replace('GlobalAveragePooling', 'mmposenc.SortedPoolNeck')
    classifier_config.write_text(f"custom_imports = dict(imports=['mmposenc'])\n{sorted_pool}")
    by_class.write_text(IMPORTS + re.sub(r"type='(?:mmposenc\.)?(\w+)'", r'type=\1', sorted_pool) + RUNTIME)
    for config, work_dir in ((classifier_config, 'name'), (by_class, 'class')):
        tool('train')([config, '--work-dir', work_dir])
    by_name, same = (read_checkpoint(f'{work_dir}/epoch_2.pth') for work_dir in ('name', 'class'))
    assert by_name['state_dict'].keys() == same['state_dict'].keys()
    assert all(torch.equal(value, same['state_dict'][name]) for name, value in by_name['state_dict'].items())
    saved = Config.fromfile('class/by_class.py')
    assert sum('ProgressBarHook' in str(hook.type) for hook in saved.custom_hooks) == 1

    # In float32: PyTorch's bfloat16 gradients of maps of one pixel, as this network has, are not finite now and then.
    tool('train')([by_class, '--work-dir', 'class', '--resume', '--cfg-options', 'train_cfg.max_epochs=3'])
    checkpoint = 'class/epoch_3.pth'
    assert checkpoint in capsys.readouterr().out
    tool('test')([by_class, checkpoint, '--work-dir', 'class'])
    assert re.search(r'accuracy/top1 \d', capsys.readouterr().out)
    tool('rank')([by_class, checkpoint, '--out', 'ranking.json'])
    tool('sweep')([by_class, checkpoint, '--rankings', 'ranking.json', '--num-channels', '0,8', '--out', 'sweep'])
    assert list(Path('sweep').glob('sweep*'))
