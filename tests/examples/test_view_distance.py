"""The distance between two views, by hand and of a network that only a cut-off view can change."""

import json
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from mmposenc.mm.datasets.cifar import CIFAR100

EXAMPLE = str(Path(__file__).parents[2] / 'examples' / 'view_distance.py')
# Its pooled features and scores are means of the pixels over the whole image.
NETWORK = """
from torch import nn

def means():
    return nn.Sequential(nn.Conv2d(3, 5, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


def test_relative_distance() -> None:
    measure = runpy.run_path(EXAMPLE)['relative_distance']
    one, other = torch.randn(2, 20_000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.1])
    assert measure(one, one) == 0
    assert measure(one, other) == pytest.approx(100, abs=3)  # as unlike as two images
    assert measure(one, one + other / 2) == pytest.approx(100 * 0.25 / (1 + 1.25), abs=1)
    assert measure(7 * one, 7 * other) == pytest.approx(measure(one, other), rel=1e-5)


def test_nothing_is_lost_of_a_whole_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('net.py').write_text(NETWORK)
    Path('cifar-100-python').mkdir()
    blocks = np.random.default_rng(0).integers(0, 256, (300, 3, 4, 4), dtype=np.uint8)
    pixels = blocks.repeat(8, axis=2).repeat(8, axis=3).reshape(300, 3072)
    torch.manual_seed(0)
    labels = {'fine_label_names': list(CIFAR100.categories)}
    for name, content in (('test', {'data': pixels, 'fine_labels': [0] * 300}), ('meta', labels)):
        Path('cifar-100-python', name).write_bytes(pickle.dumps(content))
    words = 'net.py:means --weights none --data . --layer 0 --out deep/views.json'
    monkeypatch.setattr('sys.argv', ['example', *words.split()])
    runpy.run_path(EXAMPLE, run_name='__main__')
    found = json.loads(Path('deep/views.json').read_text())
    assert found['whole'] == pytest.approx(dict(features=0, logits=0, consistency=100), abs=1e-6)
    assert min(found['cut']['features'], found['cut']['logits'], 100 - found['cut']['consistency']) > 1
