"""From rows to curves, by hand: each channel costs 5, 3 and 1 points, a random one 0.5 and 1.5."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_sweep import write_sweep

from mmposenc.figures.sweep_curve import CURVE_HEAD, curve_rows, sweep_curves
from mmposenc.figures.sweep_table import SweepPoint, read_sweep


@pytest.fixture
def points(tmp_path: Path) -> list[SweepPoint]:
    return read_sweep(write_sweep(tmp_path))[0]


def test_curves_of_rankings_and_windows(points: list[SweepPoint]) -> None:
    curves = sweep_curves(points, 'mIoU', 'left')
    assert [(curve.ranking, curve.kind) for curve in curves] == [
        *[(name, kind) for name in ('overall', 'left', 'right') for kind in ('top', 'window')],
        ('random', 'top'),
    ]
    own = curves[2]
    assert (own.starts, own.sizes) == ((0, 0, 0), (0, 2, 4))
    assert own.values == own.lows == own.highs == (70, 64, 58)
    assert own.draws == 0
    assert curves[3].starts == (0, 2)
    assert curves[3].values == (64, 68)


def test_random_draws_become_mean_and_range(points: list[SweepPoint]) -> None:
    random = sweep_curves(points, 'mIoU')[-1]
    assert random.values == (80, 78, 76)
    assert random.lows == (80, 77, 74)
    assert random.highs == (80, 79, 78)
    assert random.draws == 2


def test_the_order_of_the_rows_does_not_matter(points: list[SweepPoint]) -> None:
    forwards, backwards = (sweep_curves(each, 'aAcc') for each in (points, points[::-1]))
    assert sorted(forwards) == sorted(backwards)
    assert backwards[-1].ranking == 'random'


def test_every_point_is_a_row(points: list[SweepPoint]) -> None:
    rows = [dict(zip(CURVE_HEAD, row, strict=True)) for row in curve_rows(sweep_curves(points, 'mIoU'))]
    assert len(rows) == 3 * (3 + 2) + 3
    assert rows[-1] == dict(
        layer='pool', region='overall', ranking='random', kind='top', start=0, num_channels=4, metric='mIoU',
        value='76.000000', low='74.000000', high='78.000000', draws=2,
    )  # fmt: skip
    assert rows[0]['draws'] == ''


def test_what_is_not_there(points: list[SweepPoint]) -> None:
    with pytest.raises(ValueError, match='metric must be one of mIoU, aAcc, IoU/<sky>, got iou'):
        sweep_curves(points, 'iou')
    with pytest.raises(ValueError, match='region must be one of left, right, overall, got top'):
        sweep_curves(points, 'mIoU', 'top')
    with pytest.raises(ValueError, match='IoU/<sky> of region overall is nan: it has no pixel there'):
        sweep_curves(points, 'IoU/<sky>')
    with pytest.raises(ValueError, match=r'metric must be one of none \(the sweep is empty\), got mIoU'):
        sweep_curves([], 'mIoU')


def test_a_value_that_is_infinite_is_refused(points: list[SweepPoint]) -> None:
    with pytest.raises(ValueError, match='mIoU of region left is inf'):
        sweep_curves([replace(points[0], figures={'mIoU': float('inf')})], 'mIoU', 'left')
