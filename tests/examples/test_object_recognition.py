"""Object recognition without some channels, with a small network and random images: equals doing it by hand."""

import csv
import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mmposenc import Sweep, ablate_channels, chance_test

NAME, IMAGES = 'test_efficientnet', 20


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / 'examples')
    module = import_module('object_recognition')
    monkeypatch.setattr(module, 'END', ((0.1, 0.4), dict(num_random=19, num_matched=2)))
    monkeypatch.setattr(module, 'MIDDLE', ((0.3,), dict(num_random=19, num_matched=1)))
    return module


@pytest.fixture
def network(tmp_path: Path) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, its images as timm prepares them, and classes of which it predicts two thirds."""
    torch.manual_seed(0)
    model = timm.create_model(NAME).eval()
    known = timm.data.resolve_model_data_config(model)
    prepare = timm.data.create_transform(**known)
    (tmp_path / 'images').mkdir()
    images = []
    for i in range(IMAGES):
        pixels = F.interpolate(255 * torch.rand(1, 3, 4, 4), size=(180, 180))[0].byte()
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        image.save(tmp_path / 'images' / f'{i:02}.png')
        images.append(prepare(image))
    images = torch.stack(images)
    with torch.no_grad():
        model.classifier.bias -= model(images).mean(0)
        labels = model(images).argmax(1)
    labels[::3] += 1
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    rows = [f'{i:02}.png,{label}' for i, label in enumerate(labels.tolist())]
    (tmp_path / 'labels.csv').write_text('\n'.join(rows))
    return model, images, labels


def test_harm_and_rankings_are_those_by_hand(example, network, tmp_path, monkeypatch, capsys) -> None:
    model, images, labels = network
    words = f'timm:{NAME} --weights weights.pth --images images --labels labels.csv --end bn2 --middle blocks.3'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['example', *words.split(), '--out', 'out'])
    example.main()
    found = json.loads(Path('out/objects.json').read_text())['places']
    assert list(found) == ['end', 'end, same images', 'blocks.3']
    assert 'sweep at bn2: variants are matrix products' in capsys.readouterr().out

    def correct(chosen: slice) -> float:
        with torch.no_grad():
            return 100 * (model(images[chosen]).argmax(1) == labels[chosen]).double().mean().item()

    even, odd = slice(0, None, 2), slice(1, None, 2)
    places = {'end': (even, odd), 'end, same images': (odd, odd), 'blocks.3': (even, odd)}
    for place, (ranked, tested) in places.items():
        of = found[place]
        sweep = Sweep.load(Path('out', {'end, same images': 'end-same-images'}.get(place, place)))
        with torch.no_grad():
            features = [model.forward_features(each) for each in (images[ranked], images[ranked].flip(-1))]
            one, other = (each.mean((2, 3)) for each in features)
        if 'end' in place:
            scores = torch.tensor(sweep.plan.rankings['Eq. 2'].scores)
            torch.testing.assert_close(scores, (one - other).abs().mean(0), rtol=1e-3, atol=1e-5)
        harmed = 0.0
        for name, ranking in sweep.plan.rankings.items():
            for number, harm in zip(of['num_channels'], of['harm'][name], strict=True):
                with ablate_channels(model, of['layer'], ranking.order[:number]):
                    assert harm == pytest.approx(of['top1'] - correct(tested), abs=1e-3)
                harmed = max(harmed, abs(harm))
        assert harmed > 0
        for claim in of['claims']:
            assert claim['random_p'] == pytest.approx(chance_test(of['harm'][claim['ranking']], of['random_harm']).p)
        assert of['top1'] == pytest.approx(correct(tested))
    rows = list(csv.DictReader(Path('out/objects.csv').read_text().splitlines()))
    assert [(row['place'], row['ranking']) for row in rows[::4]] == [(place, 'Eq. 2') for place in places]
    assert len(rows) == 12
    assert Path('out/objects.png').stat().st_size > 1000

    monkeypatch.setattr(example, 'sweep_channels', lambda *_, **__: pytest.fail('it was done already'))
    example.main()
    assert json.loads(Path('out/objects.json').read_text())['places'] == found
    torch.save({name: value + 1 for name, value in model.state_dict().items()}, 'weights.pth')
    with pytest.raises(ValueError, match='out/end holds a sweep of other weights or images: give another --out'):
        example.main()
