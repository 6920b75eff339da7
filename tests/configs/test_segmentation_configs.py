"""Segmentation configs say what their names say, and the documented lines work on stock configs of mmseg."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmseg.registry import MODELS
from torch import nn

from mmposenc.host.patches import prepare_hosts
from mmposenc.layers import find_module, pooled_features

ROOT = Path(__file__).parents[2]
DEEPLAB = sorted(path.name for path in (ROOT / 'configs').glob('deeplabv3_*.py'))
ABLATED = [name for name in DEEPLAB if 'ablate' in name]
TINY_UPERNET = """
_base_ = 'BASE'
model = dict(decode_head=dict(_delete_=True, type='UPerHead', in_channels=[4, 8, 16, 32], in_index=[0, 1, 2, 3],
    pool_scales=(1, 2), channels=8, num_classes=2, loss_decode=dict(type='CrossEntropyLoss')))
"""


@pytest.fixture(autouse=True)
def _hosts(hosts_unchanged: None) -> Iterator[None]:
    prepare_hosts()
    yield
    DefaultScope._instance_dict.clear()


def load(name: str) -> Config:
    return Config.fromfile(ROOT / 'configs' / name)


def build(cfg: Config) -> nn.Module:
    init_default_scope('mmseg')
    return MODELS.build({**cfg.model, 'pretrained': None})


@pytest.mark.parametrize(
    'name, stride',
    [
        ('deeplabv3_r50_cityscapes.py', 8),
        ('deeplabv3_r50-os16_cityscapes.py', 16),
        ('deeplabv3_r50_camvid.py', 16),
        ('deeplabv3_r18_digitscenes.py', 8),
    ],
)
def test_output_strides(name: str, stride: int) -> None:
    cfg = load(name)
    with torch.device('meta'):
        model = build(cfg).eval()
    images = torch.rand(1, 3, 64, 128, device='meta')
    channels = 128 if 'r18' in name else 2048
    features = model.backbone(images)[-1]
    assert features.shape == (1, channels, 64 // stride, 128 // stride)
    assert pooled_features(model, 'decode_head.image_pool.0', images).shape == (1, channels)
    classes = {'cityscapes': 19, 'camvid': 11, 'digitscenes': 8}[Path(name).stem.split('_')[-1]]
    assert model(images, mode='tensor').shape[1] == classes


@pytest.mark.parametrize('name', DEEPLAB)
def test_all_are_tested_on_whole_images_by_region(name: str) -> None:
    cfg = load(name)
    assert cfg.model.test_cfg.mode == 'whole'
    assert cfg.test_evaluator.type == cfg.val_evaluator.type == 'mmposenc.RegionIoUMetric'
    assert cfg.test_dataloader.dataset.pipeline[-1].type == 'PackSegInputs'


def test_cityscapes_is_the_network_of_the_zoo(tmp_path: Path) -> None:
    (tmp_path / 'stock.py').write_text("_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb2-80k_cityscapes-512x1024.py'\n")
    stock, ours = Config.fromfile(tmp_path / 'stock.py'), load('deeplabv3_r50_cityscapes.py')
    assert ours.model == stock.model
    assert ours.test_dataloader == stock.test_dataloader


@pytest.mark.parametrize('name', ABLATED)
def test_an_ablated_network_is_its_base_with_one_hook(name: str) -> None:
    cfg, base = load(name), load(re.sub('_ablate-[a-z]+', '', name))
    (hook,) = cfg.custom_hooks
    assert hook.type == 'mmposenc.ChannelAblationHook'
    assert hook.layer == ('decode_head.image_pool.0' if 'pool' in name else 'backbone[-1]')
    assert hook.ranking == f'work_dirs/{Path(base.filename).stem}/ranking.json'
    assert (cfg.model, cfg.test_dataloader) == (base.model, base.test_dataloader)
    with torch.device('meta'):
        find_module(build(cfg), hook.layer)


def test_the_classifier_is_ablated_behind_its_pooling() -> None:
    cfg = load('baseline_r18_ablate-neck_cifar100.py')
    assert (cfg.custom_hooks[0].layer, cfg.model.neck.type) == ('neck', 'GlobalAveragePooling')
    assert cfg.model == load('baseline_r18_cifar100.py').model


def test_the_documented_config_is_the_file_and_loads() -> None:
    snippet = ROOT / 'docs' / 'snippets' / 'ablated_upernet_r50_ade20k.py'
    text = (ROOT / 'docs' / 'segmentation.md').read_text()
    assert f'```python\n{snippet.read_text()}```' in text
    cfg = Config.fromfile(snippet)
    assert (cfg.model.decode_head.type, cfg.test_evaluator) == ('UPerHead', {'type': 'mmposenc.RegionIoUMetric'})


def test_the_documented_lines_on_a_tiny_upernet(
    tool: Callable, segmenter_config: Path, capsys: pytest.CaptureFixture
) -> None:
    Path('upernet.py').write_text(TINY_UPERNET.replace('BASE', str(segmenter_config)))
    torch.manual_seed(0)
    torch.save({'state_dict': build(Config.fromfile('upernet.py')).state_dict()}, 'weights.pth')
    tool('rank_channels')(['upernet.py', 'weights.pth', '--out', 'ranking.json'])
    snippet = (ROOT / 'docs' / 'snippets' / 'ablated_upernet_r50_ade20k.py').read_text()
    ours = re.sub("mmseg::[^']*", 'upernet.py', snippet).replace('num_channels=100', 'num_channels=10')
    Path('ours.py').write_text(ours)
    tool('test')(['ours.py', 'weights.pth'])
    out = capsys.readouterr().out
    assert 'switched off 10 of 32 channels of backbone[-1], the best of ranking.json' in out
    done = out.rstrip().splitlines()[-1]
    for figure in ('left/mIoU', 'center/mIoU', 'right/mIoU', 'overall/mIoU'):
        assert re.search(rf'{figure} \d', done), done
