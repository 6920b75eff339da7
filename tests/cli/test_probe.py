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
from mmposenc.grids import LocationProbe, probe_location

MODEL = 'net.py:small'
NETWORK = """
from torch import nn

def small():
    widths = [3, 4, 8, 8, 16]
    blocks = [nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU()) for i, o in zip(widths, widths[1:])]
    return nn.Sequential(*blocks)
"""


@pytest.fixture
def probe(tool: Callable) -> Callable:
    """The subcommand, in a folder with a network and photos."""
    Path('photos', 'deep').mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 28, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(Path('photos', 'deep' if i % 2 else '', f'{i}.png'))
    Path('net.py').write_text(NETWORK)
    return tool('probe')


def rows() -> list[dict[str, str]]:
    return list(csv.DictReader(Path('out/probe.csv').read_text().splitlines()))


def test_from_images_to_a_page_resumed_and_as_an_atlas(probe: Callable, monkeypatch, capsys):
    options = ['--images', 'photos', '--out', 'out', '--patch-size', '16', '--controls']
    controls = ['circular', 'random', '--seeds', '0']
    once = [MODEL, '--weights', 'none', *options, *controls]
    probe(once)
    out = capsys.readouterr().out
    assert 'wrote out/probe.html' in out
    head, *lines = [line.split() for line in out.splitlines() if line.startswith('  ')]
    assert head == ['layer', 'control', 'position', 'top-bottom', 'left-right', 'interaction', 'order']
    assert lines[1][:5] == ['0', 'circular', '0.00', '0.00', '0.00'], 'zero has no sign'
    assert '-0.00' not in out
    (saved,) = Path('out').glob('*.json')
    found = LocationProbe.load(saved)
    assert (found.layers, found.num_images) == (('0', '1', '2', '3'), 10)
    assert [row['control'] for row in rows()[:3]] == ['none', 'circular', 'random']
    assert float(rows()[0]['position']) == found.measures['0']['none']['position'][0]
    page = Path('out/probe.html').read_text()
    assert page.count('<svg') + page.count('<img') >= 3
    assert 'position makes up at most' in page
    # The same again reads the file; another control measures again.
    asked = []
    monkeypatch.setattr('mmposenc.grids.probe_location', lambda *a, **k: asked.append(a[0]) or probe_location(*a, **k))
    probe(once)
    assert not asked
    probe([MODEL, MODEL, '--weights', 'none', 'none', *options, 'rolled'])
    assert len(asked) == 1  # two of the same model are one measurement
    assert '<h2>All networks</h2>' in Path('out/probe.html').read_text()
    # Other weights have another name, and a network that was edited is measured again.
    torch.manual_seed(7)
    torch.save(runpy.run_path('net.py')['small']().state_dict(), 'other.pth')
    probe([MODEL, MODEL, '--weights', 'other.pth', 'none', *options, *controls])
    assert len(asked) == 2
    assert {row['model'] for row in rows()} == {f'{MODEL}, other.pth', f'{MODEL}, none'}
    assert len(list(Path('out').glob('*-depth.svg'))) == 3
    Path('net.py').write_text(NETWORK.replace('i, o, 3, 2, 1', "i, o, 3, 2, 1, padding_mode='circular'"))
    probe(once)
    assert len(asked) == 3
    assert abs(float(rows()[0]['position'])) < 1e-4


def test_each_process_takes_its_own_gpu(probe: Callable, monkeypatch):
    calls = []
    monkeypatch.setenv('LOCAL_RANK', '1')
    monkeypatch.setattr(torch.distributed, 'is_torchelastic_launched', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'set_device', calls.append)
    monkeypatch.setattr(torch.distributed, 'init_process_group', calls.append)
    with pytest.raises(FileNotFoundError):
        probe(['nowhere.py:small', '--weights', 'none', '--images', 'photos', '--out', 'out'])
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
        ('--batch-size 0', 'batch-size must be at least 1, got 0'),
        ('--layers 9', "layer '9' does not exist"),
        ('--patch-size 20', "multiple of 8 px, the total stride up to layer '2'"),
    ],
)
def test_bad_arguments(probe: Callable, words: str, message: str):
    Path('empty').mkdir()
    argv = [MODEL, '--weights', 'none', '--images', 'photos', '--out', 'out', '--patch-size', '16']
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        probe([*argv, *words.split()])


def test_a_cifar_archive_gives_its_test_images(probe: Callable, capsys):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 3072), dtype=np.uint8)
    for folder in ('cifar-100-python', 'same'):
        Path(folder).mkdir()
    for name in ('train', 'test'):
        content = {'data': pixels if name == 'test' else pixels[:2], 'fine_labels': [0] * 9}
        Path('cifar-100-python', name).write_bytes(pickle.dumps(content, protocol=2))
    args = [MODEL, '--weights', 'none', '--patch-size', '32', '--cell-size', '16', '--controls']
    probe([*args, '--images', '.', '--out', 'out'])
    assert 'not the official files of CIFAR100' in capsys.readouterr().out
    for i, image in enumerate(pixels.reshape(9, 3, 32, 32).transpose(0, 2, 3, 1)):
        Image.fromarray(image).save(f'same/{i}.png')
    probe([*args, '--images', 'same', '--out', 'other'])
    assert Path('out/probe.csv').read_text() == Path('other/probe.csv').read_text()
