"""`mmposenc report`: a saved sweep becomes figures and one page."""

import base64
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmposenc.channels.sweep import Rates, Sweep, SweepPlan
from mmposenc.ranking import Ranking
from mmposenc.regions import MeanIoU


def plan() -> SweepPlan:
    shared, rankings = dict(layer='pool', pair='flip_image', num_images=2), {}
    for k, name in enumerate(('left', 'overall', 'right')):
        kind = dict(region=name, statistic='abs' if name == 'overall' else 'signed')
        rankings[name] = Ranking(scores=[(3 * i + k) % 8 for i in range(8)], **shared, **kind)
    return SweepPlan(rankings, num_channels=(0, 2, 4), window=4, num_random=19)


def segmenter_sweep(folder: Path) -> None:
    """Left channels cost as many pixels of 'car' in the left half, right ones in the right half, others none."""
    metric, swept = MeanIoU(classes=('road', 'car')), plan()
    truth = torch.zeros(1, 2, 60, dtype=torch.int64)
    truth[:, 1] = 1
    predictions = truth.repeat(swept.num_runs, 1, 1)
    for v in swept.variants:
        if v.ranking in ('left', 'right') and v.run:
            place = 0 if v.ranking == 'left' else 60 - (v.stop - v.start)
            predictions[v.run, 1, place : place + v.stop - v.start] = 0
    counts = metric.count(predictions, truth.expand_as(predictions))[None].repeat(2, 1, 1, 1, 1)
    Sweep(swept, counts, metric, dict(model='net <1>')).save(folder)


def test_figures_and_page(tool: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    segmenter_sweep(tmp_path / 'sweep')
    cv2.imwrite('overlay 1.png', np.zeros((4, 4, 3)))
    tool('report')(['sweep', '--out', 'drawn', '--overlays', 'overlay 1.png', '--title', 'My <sweep>'])
    assert capsys.readouterr().out.splitlines()[-1] == 'done: drawn/report.html'
    drawn = ['fig4.png', 'fig4.svg', 'fig6.png', 'fig6.svg', 'report.html']
    assert sorted(path.name for path in Path('drawn').iterdir()) == drawn
    page = Path('drawn/report.html').read_text()
    embedded = [base64.b64decode(found) for found in re.findall(r'src="data:image/[a-z+]+;base64,([^"]+)"', page)]
    assert embedded == [Path(name).read_bytes() for name in ('drawn/fig4.svg', 'drawn/fig6.svg', 'overlay 1.png')]
    assert '<h1>My &lt;sweep&gt;</h1>' in page
    assert 'net &lt;1&gt;' in page
    text = unescape(page)
    # 4 of 60 pixels of 'car' become 'road': IoU 56 / 60 and 60 / 64, mean loss 6.46; at N = 2, 3.28; at N = 0, 0.
    assert 'random channels cost 0.0 points of mIoU (mean over N = 0 to 4)' in text
    assert 'left-specific (Eq. 3), 3.2 (p = 0.050)' in text
    assert 'D, in points: how much more the left channels harm the left half' in text
    assert 'each half depends on its own channels' in text
    assert "mmposenc report sweep --out drawn --overlays 'overlay 1.png' --title 'My <sweep>'" in text


def test_a_classifier_has_fig_4_alone(tool: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    swept = plan()
    counts = torch.ones(4, swept.num_runs, 3, dtype=torch.uint8)
    Sweep(swept, counts, Rates(['top1', 'cons8_zero_ref'])).save(tmp_path / 'sweep')
    tool('report')(['sweep', '--metrics', 'top1', 'cons8_zero_ref'])
    said = capsys.readouterr().out
    assert said.startswith('without the figure of left and right (Fig. 6), which needs rankings and regions of left')
    drawn = ['fig4-2.png', 'fig4-2.svg', 'fig4.png', 'fig4.svg']
    assert sorted(path.name for path in Path('sweep').glob('fig*')) == drawn
    assert 'Cons.8 (zero_ref) in %, overall' in Path('sweep/report.html').read_text()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['sweep', '--metrics', 'miou'], 'metric must be one of mIoU'),
        (['sweep', '--region', 'top'], 'region must be one of left, center, right, overall, got'),
        (['sweep', '--overlays', 'none.png'], 'there is no picture none.png'),
        (['nowhere'], 'there is no sweep.json in nowhere: give the folder of a sweep'),
    ],
)
def test_a_mistake_leaves_no_file(fails: Callable, tmp_path: Path, arguments: list[str], message: str) -> None:
    segmenter_sweep(tmp_path / 'sweep')
    assert fails('report', *arguments, '--out', 'out').startswith(f'error: {message}')
    assert not Path('out').exists()
