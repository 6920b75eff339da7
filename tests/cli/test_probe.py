"""`mmposenc probe`: from a folder of images to JSON, CSV, figures and a page; resumed, and as an atlas."""

import csv
import pickle
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image

from mmposenc.cli.probe import default_layers
from mmposenc.grids import LocationProbe, probe

NETWORK = """
import torch
from torch import nn

def small():
    widths = [3, 4, 8, 8, 16]
    blocks = [nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU()) for i, o in zip(widths, widths[1:])]
    return nn.Sequential(*blocks)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / 'photos' / 'deep').mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 28, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / 'photos' / ('deep' if i % 2 else '') / f'{i}.png')
    (tmp_path / 'net.py').write_text(NETWORK)
    return tmp_path / 'photos'


def test_from_images_to_a_page_resumed_and_as_an_atlas(folder: Path, tool: Callable, monkeypatch, capsys):
    model = f'{folder.parent / "net.py"}:small'
    args = [model, '--weights', 'none', '--images', folder, '--out', 'out', '--patch-size', '16', '--controls']
    tool('probe')([*args, 'circular', 'random', '--seeds', '0'])
    out = capsys.readouterr().out
    assert 'wrote out/probe.html' in out
    head, *lines = [line.split() for line in out.splitlines() if line.startswith('  ')]
    assert head == ['layer', 'control', 'position', 'top-bottom', 'left-right', 'interaction', 'order']
    assert lines[1][:5] == ['0', 'circular', '0.00', '0.00', '0.00'], 'zero has no sign'
    assert '-0.00' not in out
    (saved,) = Path('out').glob('*.json')
    found = LocationProbe.load(saved)
    assert (found.layers, found.num_images) == (('0', '1', '2', '3'), 10)
    rows = list(csv.DictReader(Path('out/probe.csv').read_text().splitlines()))
    assert [row['control'] for row in rows[:3]] == ['none', 'circular', 'random']
    assert float(rows[0]['position']) == found.measures['0']['none']['position'][0]
    page = Path('out/probe.html').read_text()
    assert page.count('<svg') + page.count('<img') >= 3
    assert 'position makes up at most' in page
    # The same again reads the file; another control measures again.
    asked = []
    measure = probe.probe_location
    monkeypatch.setattr('mmposenc.grids.probe_location', lambda *a, **k: asked.append(a[0]) or measure(*a, **k))
    tool('probe')([*args, 'circular', 'random', '--seeds', '0'])
    assert not asked
    tool('probe')([model, *args[:1], '--weights', 'none', 'none', *args[3:], 'rolled'])
    assert len(asked) == 1  # two of the same model are one measurement
    assert '<h2>All networks</h2>' in Path('out/probe.html').read_text()
    # Other weights have another name, and a network that was edited is measured again.
    torch.manual_seed(7)
    torch.save(runpy.run_path(str(folder.parent / 'net.py'))['small']().state_dict(), 'other.pth')
    both = [model, *args[:1], '--weights', 'other.pth', 'none', *args[3:], 'circular', 'random', '--seeds', '0']
    tool('probe')(both)
    assert len(asked) == 2
    named = {row['model'] for row in csv.DictReader(Path('out/probe.csv').read_text().splitlines())}
    assert named == {f'{model}, other.pth', f'{model}, none'}
    assert len(list(Path('out').glob('*-depth.svg'))) == 3
    (folder.parent / 'net.py').write_text(NETWORK.replace('i, o, 3, 2, 1', "i, o, 3, 2, 1, padding_mode='circular'"))
    tool('probe')([*args, 'circular', 'random', '--seeds', '0'])
    assert len(asked) == 3
    assert abs(float(next(csv.DictReader(Path('out/probe.csv').read_text().splitlines()))['position'])) < 1e-4


def test_each_process_takes_its_own_gpu(folder: Path, tool: Callable, monkeypatch):
    calls = []
    monkeypatch.setenv('LOCAL_RANK', '1')
    monkeypatch.setattr(torch.distributed, 'is_torchelastic_launched', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'set_device', calls.append)
    monkeypatch.setattr(torch.distributed, 'init_process_group', calls.append)
    with pytest.raises(FileNotFoundError):
        tool('probe')(['nowhere.py:small', '--weights', 'none', '--images', folder, '--out', 'out'])
    assert calls == [1, 'nccl']


@pytest.mark.parametrize(
    'build, expected',
    [
        (torchvision.models.resnet18, ['layer1', 'layer2', 'layer3', 'layer4']),
        (torchvision.models.swin_t, [*(f'features.{i}' for i in range(8)), 'norm']),
        (lambda: timm.create_model('tf_efficientnet_lite0'), [*(f'blocks.{i}' for i in range(7)), 'bn2']),
        (
            lambda: timm.create_model('vit_tiny_patch16_224', img_size=64),
            [*(f'blocks.{i}' for i in (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11)), 'norm'],
        ),
    ],
)
def test_default_layers_are_blocks_and_the_end(build: Callable, expected: list[str]):
    with torch.no_grad():
        assert default_layers(build().eval(), torch.rand(1, 3, 64, 64)) == expected


@pytest.mark.parametrize(
    'words, message',
    [
        ('--weights a.pth b.pth', '--weights must name one file .or none. per model: 1, got 2'),
        ('--images nowhere', 'there is no folder nowhere'),
        ('--images empty', 'empty holds no images'),
        ('--num-images 7', 'at least 8 images, got 7'),
        ('--num-images 0', 'num-images must be at least 1, got 0'),
        ('--layers 9', "layer '9' does not exist"),
        ('--patch-size 20', "multiple of 8 px, the total stride up to layer '2'"),
    ],
)
def test_bad_arguments(folder: Path, tool: Callable, words: str, message: str):
    Path('empty').mkdir()
    argv = [f'{folder.parent / "net.py"}:small', '--weights', 'none', '--images', folder, '--out', 'out']
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tool('probe')([*argv, '--patch-size', '16', *words.split()])


def test_a_cifar_archive_gives_its_test_images(folder: Path, tool: Callable, capsys):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 3072), dtype=np.uint8)
    archive = folder.parent / 'cifar-100-python'
    archive.mkdir()
    for name in ('train', 'test'):
        content = {'data': pixels if name == 'test' else pixels[:2], 'fine_labels': [0] * 9}
        (archive / name).write_bytes(pickle.dumps(content, protocol=2))
    model = f'{folder.parent / "net.py"}:small'
    args = [model, '--weights', 'none', '--patch-size', '32', '--cell-size', '16', '--controls']
    tool('probe')([*args, '--images', folder.parent, '--out', 'out'])
    assert 'not the official files of CIFAR100' in capsys.readouterr().out
    for i, image in enumerate(pixels.reshape(9, 3, 32, 32).transpose(0, 2, 3, 1)):
        (folder.parent / 'same').mkdir(exist_ok=True)
        Image.fromarray(image).save(folder.parent / 'same' / f'{i}.png')
    tool('probe')([*args, '--images', folder.parent / 'same', '--out', 'other'])
    assert Path('out/probe.csv').read_text() == Path('other/probe.csv').read_text()
