"""Examples run as they stand."""

import csv
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmposenc import chance_test

EXAMPLES = Path(__file__).parents[2] / 'examples'


@pytest.mark.slow
def test_object_recognition_measures_goes_on_and_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    generator = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f'{i:02}.png')
    (tmp_path / 'labels.csv').write_text('file,class\n' + ''.join(f'{i:02}.png,{i}\n' for i in range(20)))
    words = f'timm:test_efficientnet --weights none --images {tmp_path} --labels {tmp_path / "labels.csv"} --end bn2'
    out = tmp_path / 'out'
    monkeypatch.setattr('sys.argv', ['example', *f'{words} --middle blocks.2 --out {out}'.split()])
    for time in range(2):
        runpy.run_path(str(EXAMPLES / 'object_recognition.py'), run_name='__main__')
        said = capsys.readouterr().out
        assert ('sweep at bn2: variants are matrix products' in said) == (time == 0)
    places = json.loads((out / 'objects.json').read_text())['places']
    assert [found['layer'] for found in places.values()] == ['bn2', 'bn2', 'blocks.2']
    assert [found['images'] for found in places.values()] == [dict(ranked=10, tested=n) for n in (10, 10, 10)]
    for found in places.values():
        assert len(found['random_harm']) == found['random_orders']
        for claim in found['claims']:
            test = chance_test(found['harm'][claim['ranking']], found['random_harm'])
            assert claim['random_p'] == pytest.approx(test.p)
        assert found['correlations']['roll'][1] == 1
    rows = list(csv.DictReader((out / 'objects.csv').read_text().splitlines()))
    assert [row['ranking'] for row in rows] == ['Eq. 2', 'roll', 'mean activation', 'position share'] * 3
    assert (out / 'objects.png').stat().st_size > 1000


def test_relative_distance() -> None:
    measure = runpy.run_path(str(EXAMPLES / 'view_distance.py'))['relative_distance']
    one, other = torch.randn(2, 20_000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.1])
    assert measure(one, one) == 0
    assert measure(one, other) == pytest.approx(100, abs=3)  # as unlike as two images
    assert measure(one, one + other / 2) == pytest.approx(100 * 0.25 / (1 + 1.25), abs=1)
    assert measure(7 * one, 7 * other) == pytest.approx(measure(one, other), rel=1e-5)
