"""The experiment on ESPNet, on a small network in a folder like its authors' and on random images."""

import csv
import json
import runpy
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from torch import nn

MODEL = """
import torch
from torch import nn

class ESPNet(nn.Module):
    def __init__(self, classes, p, q):
        super().__init__()
        assert (p, q) == (2, 8)
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.modules = list(self.encoder)
        self.classifier = nn.ConvTranspose2d(8, classes, 4, stride=4)

    def forward(self, x):
        for module in self.modules:
            x = module(x)
        return self.classifier(x)
"""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / 'examples')
    module = import_module('espnet_camvid')
    monkeypatch.setattr(module, 'LAYERS', ('encoder.1', 'encoder.3'))
    sweeps = {'end': ('encoder.3', (1, 4)), 'end-matched': ('encoder.3', (2,)), 'end-code': ('encoder.3', (2,))}
    monkeypatch.setattr(module, 'SWEEPS', {**sweeps, 'before': ('encoder.1', (2,))})
    monkeypatch.setattr(module, 'PARTS', 2)
    yield module
    sys.modules.pop('Model', None)
    torch.set_flush_denormal(False)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A checkout and a CamVid: pedestrians stand on the left of every third image, on the right of the next ones."""
    code, data = tmp_path / 'net' / 'train' / 'Model.py', tmp_path / 'camvid'
    weights = tmp_path / 'net' / 'pretrained' / 'decoder' / 'espnet_p_2_q_8_camvid.pth'
    for file in (code, weights):
        file.parent.mkdir(parents=True)
    code.write_text(MODEL)
    torch.manual_seed(0)
    torch.save(runpy.run_path(str(code))['ESPNet'](12, 2, 8).state_dict(), weights)
    draw = np.random.default_rng(0)
    for part, number in dict(train=6, val=3, test=3).items():
        for folder in (part, f'{part}annot'):
            (data / folder).mkdir(parents=True)
        for i in range(number):
            label = draw.integers(0, 9, (64, 96)).astype(np.uint8)
            label[:4] = 11
            if i % 3 < 2:
                label[30:40, (10, 60)[i % 3] :][:, :10] = 9
            cv2.imwrite(str(data / part / f'{i}.png'), draw.integers(0, 256, (64, 96, 3)).astype(np.uint8))
            cv2.imwrite(str(data / f'{part}annot' / f'{i}.png'), label)
    return tmp_path / 'net', data


def run(example: ModuleType, folders: tuple[Path, Path], out: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    command = ['espnet_camvid.py', '--espnet', folders[0], '--data', folders[1], '--out', out]
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    example.main()
    return json.loads((out / 'espnet.json').read_text())


def test_the_experiment_runs_is_resumed_and_says_what_it_measured(
    example: ModuleType, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(example, folders, tmp_path / 'out', monkeypatch)
    assert list(results) == ['end', 'end-matched', 'end-code', 'before']
    names = ['Eq. 2', 'vertical', 'roll', 'activation', 'position', 'left', 'right', 'code left']
    end = results['end']
    assert list(end['harm']['overall']) == names
    images = end['ranked_images']
    assert (images['Eq. 2'], images['left'], images['right'], images['position']) == (9, 3, 3, 9)
    assert (end['test_images'], end['num_random'], end['num_channels']) == (3, 39, [1, 4])
    with open(tmp_path / 'out' / 'claims.csv') as file:
        claims = list(csv.DictReader(file))
    assert len(claims) == 3 * (8 + 2 + 2 + 8)
    row = next(row for row in claims if (row['sweep'], row['region'], row['ranking']) == ('end', 'left', 'roll'))
    assert float(row['harm']) == pytest.approx(np.mean(end['harm']['left']['roll']), abs=1e-4)
    assert end['spearman']['left']['right'] == end['spearman']['right']['left']
    assert [row['region'] for row in results['end-code']['dissociation']] == ['left', 'right']
    assert (tmp_path / 'out' / 'espnet.png').stat().st_size > 10_000

    def again(*args: object, **options: object) -> None:
        raise AssertionError('a part that is done runs again')

    with monkeypatch.context() as patch:
        patch.setattr(example, 'sweep_channels', again)
        patch.setattr(example, 'probe_location', again)
        assert run(example, folders, tmp_path / 'out', monkeypatch) == results
    # As if it had been killed while it saved a part.
    (tmp_path / 'out' / 'before' / 'part1' / 'sweep_counts.npz').unlink()
    assert run(example, folders, tmp_path / 'out', monkeypatch) == results


def test_the_sweep_measures_the_network_of_the_checkout(
    example: ModuleType, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mIoU over the labelled classes, void left out, of the network run by hand."""
    monkeypatch.setattr(example, 'SWEEPS', {'end': ('encoder.3', (8,))})
    found = run(example, folders, tmp_path / 'out', monkeypatch)['end']
    files = sorted((folders[1] / 'train').glob('*.png'))
    images = np.stack([cv2.imread(str(file)) for file in files]).astype(float)
    mean, std = images.mean((0, 1, 2)), images.std((1, 2)).mean(0)
    net = example.load_espnet(folders[0])
    assert len(list(net.modules())) == len(list(nn.Module.modules(net))) == 7
    confusion = np.zeros((12, 12))
    for file in sorted((folders[1] / 'test').glob('*.png')):
        image = torch.from_numpy(((cv2.imread(str(file)) - mean) / std / 255).transpose(2, 0, 1)).float()
        label = cv2.imread(str(folders[1] / 'testannot' / file.name), cv2.IMREAD_GRAYSCALE)
        np.add.at(confusion, (label, net(image[None]).argmax(1)[0].numpy()), 1)
    confusion = confusion[:11]
    hits, labelled = confusion.diagonal(), confusion.sum(1)
    iou = hits / np.maximum(labelled + confusion[:, :11].sum(0) - hits, 1)
    assert found['mIoU']['overall'] == pytest.approx(100 * iou[labelled > 0].mean())
    # With all channels ablated nothing depends on the order: every ranking harms as much as the random orders.
    for (harm,) in found['harm']['overall'].values():
        assert harm == pytest.approx(found['random']['overall']['mean'][0])
    assert {row['p'] for row in found['claims']} == {1.0}


def test_left_and_right_by_the_position_code_are_each_other_reversed_but_for_inert_channels(
    example: ModuleType, folders: tuple[Path, Path]
) -> None:
    data = example.CamVid(sorted((folders[1] / 'train').glob('*.png')), np.zeros(3), np.ones(3))
    patches = example.random_patches(data)
    assert patches.shape == (6, 3, 64, 64)
    assert any(torch.equal(patches[0], data[0][0][:, :, x : x + 64]) for x in range(33))
    net = example.load_espnet(folders[0])
    probe = example.probe_location(net, patches.repeat(2, 1, 1, 1), ['encoder.3'], controls=())
    probe.variance['encoder.3'][2] = 0
    rankings = example.code_rankings(probe, 'encoder.3')
    orders = [f'{name} {i}' for name in ('random', 'reversed') for i in range(39)]
    assert list(rankings) == ['code left', 'code right', *orders]
    for left, right in (('code left', 'code right'), ('random 7', 'reversed 7')):
        assert rankings[left].order[:-1] == rankings[right].order[-2::-1]
    assert {ranking.order[-1] for ranking in rankings.values()} == {2}  # The inert channel is last everywhere.
    scores = [rankings['code left'].scores[channel] for channel in rankings['code left'].order[:-1]]
    assert scores == sorted(scores, reverse=True)
