"""`mmposenc consistency` of networks by name and of configs, against the plain function."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from mmposenc.cli import call
from mmposenc.host.weights import build_network
from mmposenc.shifts import ConsistencyCard, shift_consistency

MINE = """
from torch import nn
def tiny(num_classes=2):
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *head)
"""
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
FILES = [f'{name}/{index}.png' for name in 'ab' for index in range(7)]
LABELS = torch.tensor([0] * 7 + [1] * 7)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """14 images of 16 x 16 px in folders of two classes, the user's own network with its weights, the images' table."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in 'ab':
        Path('images', name).mkdir(parents=True)
    for file in FILES:
        cv2.imwrite(f'images/{file}', rng.integers(0, 256, (16, 16, 3), np.uint8))
    Path('labels.csv').write_text('file,class\n' + '\n'.join(f'{file},{int(file[0] == "b")}' for file in FILES))
    Path('mine.py').write_text(MINE)
    torch.manual_seed(0)
    model = build_network('mine.py:tiny')
    nn.init.normal_(model[4].weight, std=30)
    pooled = model[:4]((torch.rand(200, 3, 12, 12) - MEAN) / STD).mean(0)
    model[4].bias.data = -model[4].weight.data @ pooled.detach()  # both classes are equally frequent
    torch.save({'state_dict': {f'module.{k}': v for k, v in model.state_dict().items()}}, 'w.pth')


def expected(**options):
    model = build_network('mine.py:tiny')
    weights = torch.load('w.pth')['state_dict']
    model.load_state_dict({name.removeprefix('module.'): value for name, value in weights.items()})
    images = [torch.from_numpy(cv2.imread(f'images/{file}')[..., ::-1].copy()).permute(2, 0, 1) / 255 for file in FILES]
    return shift_consistency(model, [((torch.stack(images) - MEAN) / STD, LABELS)], **options)


@pytest.mark.parametrize('labels', ['', '--labels labels.csv'], ids=['folders', 'table'])
def test_a_network_of_the_users_own(folder, labels, capsys):
    words = 'consistency mine.py:tiny --weights w.pth --data images --resize 16 --crop 12 --max-shifts 2 --batch-size 5'
    call(f'{words} {labels} --workers 0 --seed 3 --out card.json'.split())
    card = ConsistencyCard.load('card.json')
    protocols = ['zero_ref', 'zero_pair', 'roll_ref', 'roll_pair', 'reflect_ref', 'reflect_pair', 'crop_pair']
    reference = expected(max_shifts=[2], protocols=protocols, seed=3, crop_size=12)
    assert str(card.table()) == str(reference.table())
    assert 0 < card.top1 < 100
    assert len({row['consistency'] for row in card.table()}) > 2
    text = capsys.readouterr().out
    assert "4 tensors of w.pth, its 'state_dict'" in text
    assert f'14 images, Top-1 {card.top1:.2f}%' in text
    assert all(f'{row["protocol"]:14}' in text for row in card.table())


def test_no_image_is_correct(folder, capsys):
    weights = {name: torch.zeros_like(value) for name, value in torch.load('w.pth')['state_dict'].items()}
    torch.save(weights, 'zeros.pth')  # always class 0
    Path('ones.csv').write_text(Path('labels.csv').read_text().replace(',0', ',1'))
    words = 'consistency mine.py:tiny --weights zeros.pth --data images --resize 16 --labels ones.csv --max-shifts 2'
    call(words.split())
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('zero_ref'))
    assert row.split() == ['zero_ref', '2', '100.00', '[78.47,', '100.00]', '-']


def test_a_torchvision_network_by_order(folder, capsys):
    """With its own size, crop and normalisation; weights under other names."""
    torch.manual_seed(0)
    model = build_network('torchvision:squeezenet1_1', 2).eval()
    steps = [Resize(256), ToTensor(), Normalize(MEAN.flatten(), STD.flatten())]
    images = torch.stack([image for image, _ in ImageFolder('images', Compose(steps))])
    with torch.no_grad():
        model.classifier[1].bias += 10  # above its ReLU
        model.classifier[1].bias -= model(images).median(0).values - 10  # both classes are predicted
    torch.save({f'tensor{i}': value for i, value in enumerate(model.state_dict().values())}, 'other.pth')
    words = 'consistency torchvision:squeezenet1_1 --num-classes 2 --data images --workers 0 --weights other.pth'
    call(f'{words} --weights-by-order --max-shifts 40 --protocols zero_ref crop_pair --out card.json'.split())
    text = capsys.readouterr().out
    assert 'every shape agrees, names were not compared' in text
    assert 'side 256, crop 224, mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]' in text
    options = dict(max_shifts=[40], protocols=['zero_ref', 'crop_pair'], crop_size=224)
    reference = shift_consistency(model, [(images, LABELS)], **options)
    card = ConsistencyCard.load('card.json')
    assert str(card.table()) == str(reference.table())
    assert 0 < card.top1 < 100
    assert min(row['consistency'] for row in card.table()) < 100


@pytest.mark.filterwarnings('ignore')
def test_a_config_equals_its_own_test(classifier_config, hosts_unchanged, monkeypatch, tmp_path, capsys):
    """The images, preprocessing and crop of the config, and no other weights; `--data` replaces the folder."""
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS

    from mmposenc.host.config import read_config

    monkeypatch.chdir(tmp_path)
    cfg = read_config(str(classifier_config))
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    nn.init.normal_(model.head.fc.weight, std=9)
    torch.save({'state_dict': model.state_dict()}, 'w.pth')
    # As a training that was resumed leaves its config and its folder.
    first, loop = 'from mmposenc.mm.loops import ShiftConsistencyLoop', 'dict(type=ShiftConsistencyLoop, crop_size=12)'
    classifier_config.write_text(f'{first}\n{classifier_config.read_text()}\nresume, test_cfg = True, {loop}')
    Path('work_dirs/tiny').mkdir(parents=True)
    Path('work_dirs/tiny/last_checkpoint').write_text('other.pth')
    words = '--weights w.pth --max-shifts 4 --protocols roll_pair --out card.json'
    argv = ['consistency', str(classifier_config), *words.split()]
    monkeypatch.setattr('time.strftime', lambda *args: 'now')  # both begin in one second
    for data, number in (([], 7), (['--data', str(tmp_path / 'images' / 'train')], 14)):
        call([*argv, *data])
        card = ConsistencyCard.load('card.json')
        assert card.images == number
        root = tmp_path / 'images' / ('train' if data else 'val')
        paths = [*sorted((root / 'bright').iterdir()), *sorted((root / 'dark').iterdir())]
        images = torch.stack([torch.from_numpy(cv2.imread(str(path))).permute(2, 0, 1) for path in paths])
        labels = torch.tensor([int(path.parent.name == 'dark') for path in paths])
        pixels = (images.flip(1).float() - 128) / 64
        reference = shift_consistency(model, [(pixels, labels)], max_shifts=[4], protocols=['roll_pair'], crop_size=12)
        assert str(card.table()) == str(reference.table())
    assert [path.name for path in Path('work_dirs/tiny').iterdir()] == ['last_checkpoint']  # nor is anything written


def test_random_weights_are_the_same_again(folder, monkeypatch):
    measured = []

    def measure(model, loader, **setting):
        measured.append(model[0].weight)
        return shift_consistency(model, loader, **setting)

    monkeypatch.setattr('mmposenc.shifts.shift_consistency', measure)
    words = 'consistency mine.py:tiny --weights none --data images --resize 16 --max-shifts 2'
    for _ in range(2):
        call(words.split())
    assert measured[0].equal(measured[1])


@pytest.mark.parametrize(
    'words, message',
    [
        ('mine.py:tiny', 'needs --data, a folder of images'),
        ('mine.py:tiny --data images', 'images of a folder differ in size: give --resize'),
        ('mine.py:tiny --data gone --resize 9', 'there is no folder gone'),
        ('mine.py:tiny --data images/a --resize 9', 'has no folders of classes: give --labels'),
        ('mine.py:tiny --data images/a --resize 9 --labels labels.csv', r'a/0.png, which is not in'),
        ('mine.py:tiny --data images --resize 9 --labels mine.py', 'must hold lines "file name,numb'),
        ('mine.py:three --data images --resize 9', 'mine.py defines no function three'),
        ('mine.py:tiny --cfg-options a=1', '--cfg-options: only for a config'),
        ('mine.py --labels x --mean 0 0 0 --batch-size 8', '--labels, --mean, --batch-size: not for a config'),
        ('mine.py:tiny --num-classes 3 --data images --resize 9', 'of another shape'),
        ('mine.py:tiny --data more --resize 16', r'more has 3 classes and mine.py:tiny has 2: .*alphabetical order'),
        ('mine.py:tiny --data images --crop 0', '--crop must be at least 1, got 0'),
        ('mine.py:tiny --data images --out images', '--out must be a file, got the folder images'),
        ('resnet18', 'resnet18 is no config file: a network by name is timm:resnet18 or torchvision:resnet18'),
        ('mine.py:tiny --data one', 'one has 1 classes and mine.py:tiny has 2$'),
        ('mine.py:tiny --data both', 'both holds both CIFAR10 and CIFAR100: put one of them into a folder of its own'),
    ],
)
def test_bad_input(folder, words, message):
    for name in 'abc':
        Path('more', name).mkdir(parents=True)
        cv2.imwrite(f'more/{name}/0.png', np.zeros((16, 16, 3), np.uint8))
    for archive in ('one/cifar-100-python', 'both/cifar-10-batches-py', 'both/cifar-100-python'):
        Path(archive).mkdir(parents=True)
    for split in ('train', 'test'):
        content = {'data': np.zeros((9, 3072), np.uint8), 'fine_labels': [0] * 9}
        Path('one/cifar-100-python', split).write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call(f'consistency {words} --weights w.pth --max-shifts 2'.split())
