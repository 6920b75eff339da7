"""What Fig. 4 and 6 show, read back from their axes: each channel costs a known number of points."""

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from planted_sweep import ClassPoints, planted_sweep, ranking

from mmposenc.figures import draw_classes, draw_dissociation, draw_sweep
from mmposenc.figures.sweeps import class_claims, metric_label, ranking_labels

FLIP, LEFT, RIGHT = 'most sensitive to mirroring (Eq. 2)', 'left-specific (Eq. 3)', 'right-specific (Eq. 3)'
RANDOM = 'random channels, mean'


def lines(axis: Axes) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): [tuple(xy) for xy in line.get_xydata().round(6).tolist()] for line in axis.lines}


def band(axis: Axes) -> dict[float, tuple[float, float]]:
    """Lowest and highest point of the filled band at each N."""
    (filled,) = axis.collections
    corners: dict[float, list[float]] = {}
    for x, y in filled.get_paths()[0].vertices:
        corners.setdefault(float(x), []).append(float(y))
    return {x: (min(ys), max(ys)) for x, ys in corners.items()}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_top_row_is_harm_beside_the_band_of_random_orders() -> None:
    figure = draw_sweep(planted_sweep(num_matched=19))
    top, _ = figure.axes
    shown = lines(top)
    assert shown[FLIP] == [(0, 0), (2, 10), (4, 20)]
    assert shown[LEFT] == shown[RIGHT] == [(0, 0), (2, 5), (4, 10)]
    assert shown['random, matched in strength'] == [(0, 0), (2, 2), (4, 4)]
    # 19 orders that cost 0.50, 0.51, ... 0.68 a channel: mean 0.59, deviation 0.05627, t 2.1009, factor sqrt(20 / 19).
    assert shown[RANDOM] == [(0, 0), (2, 1.18), (4, 2.36)]
    width = 0.0562731 * 2.100922 * (20 / 19) ** 0.5
    assert band(top)[4] == pytest.approx((4 * (0.59 - width), 4 * (0.59 + width)), abs=1e-4)
    assert '95% of single random orders (19 drawn)' in legend(figure)
    assert top.get_title() == 'ablated at pool'
    assert top.get_ylabel() == 'loss of score, points'


def test_a_few_random_orders_are_shown_as_their_range() -> None:
    figure = draw_sweep(planted_sweep(num_random=3, window=0))
    assert band(figure.axes[0])[4] == pytest.approx((4 * 0.5, 4 * 0.52))
    assert 'all 3 random orders' in legend(figure)


def test_windows_are_compared_with_the_whole_network_and_lie_over_their_ranks() -> None:
    (axis,) = draw_sweep(planted_sweep(['flip'], numbers=())).axes
    # The window from rank s on costs 2 * (5 - s / 2) points.
    assert lines(axis)[FLIP] == [(1, 10), (3, 8), (5, 6), (7, 4)]
    (step,) = [patch for patch in axis.patches if hasattr(patch, 'get_data')]
    assert step.get_data().values.tolist() == [10, 8, 6, 4]
    assert list(step.get_data().edges) == [0, 2, 4, 6, 8]
    assert {y for _, y in lines(axis)[RANDOM]} == {1.18}
    assert axis.get_xlabel() == 'rank of the 2 channels ablated'


def test_another_region_and_several_layers() -> None:
    figure = draw_sweep(planted_sweep(layers=('pool', 'backbone[-1]'), window=0), region='left')
    assert [axis.get_title() for axis in figure.axes] == ['ablated at pool', 'ablated at backbone[-1]']
    assert lines(figure.axes[1])[LEFT] == [(0, 0), (2, 8), (4, 16)]
    assert figure.axes[0].get_ylabel() == 'loss of score in left, points'


def test_the_halves_with_intervals_and_d() -> None:
    sweep = planted_sweep(window=0)
    left, right = draw_dissociation(sweep).axes
    assert lines(left)[LEFT] == [(0, 0), (2, 8), (4, 16)]
    assert lines(left)[RIGHT] == lines(right)[LEFT] == [(0, 0), (2, 2), (4, 4)]
    assert lines(left)[FLIP] == [(0, 0), (2, 6), (4, 12)]
    assert lines(left)[RANDOM][-1] == (4, 2.36)
    assert len(left.collections) == 3  # all images are alike, so the intervals have no width
    # Mean losses 8 and 2 in each half: D = (8 - 2) + (8 - 2), above all 21 * 20 pairs but itself.
    assert [text.get_text() for text in right.texts] == [f'D = 12.00 points, p = {1 / 420:.3f}']


def test_classes_beside_random_orders() -> None:
    sweep = planted_sweep(window=0, metric=ClassPoints())
    figure = draw_classes(sweep, ['flip', 'left'])
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ['building', 'tree']
    # Mean over N = 0, 2, 4 of 2 channels; 'left' costs a building 4 points a channel and a tree 1.
    dots = [line for line in axis.lines if line.get_marker() != 'None']
    heights = [(line.get_label(), round(float(line.get_ydata()[0]), 6)) for line in dots]
    assert heights == [(FLIP, 6), (LEFT, 8), (FLIP, 6), (LEFT, 2)]
    rows = {(row['class'], row['ranking']): row for row in class_claims(sweep, ['flip', 'left'])}
    assert rows['building', 'left']['p'] == rows['building', 'flip']['p'] == 1 / 20
    assert rows['tree', 'left']['random'] == pytest.approx(2 * 0.59)
    bar = axis.patches[0]
    assert axis.get_ylim()[0] < min(patch.get_y() for patch in axis.patches)  # no bar is cut by the frame
    assert bar.get_y() < 1.18 < bar.get_y() + bar.get_height() < 2
    assert axis.get_title() == 'mean over N = 0 to 4 channels ablated at pool'


def test_names_that_people_can_read() -> None:
    rankings = {name: ranking(name) for name in ('flip', 'left', 'dull')}
    assert ranking_labels(rankings) == dict(flip=FLIP, left=LEFT, dull='most sensitive to rolling')
    twice = ranking_labels({'a': ranking('flip'), 'b': ranking('flip')})
    assert twice == dict(a=f'{FLIP}, a', b=f'{FLIP}, b')
    names = ['mIoU_labelled', 'top1', 'cons8_zero_ref', 'IoU/car']
    assert [metric_label(name) for name in names] == ['mIoU', 'Top-1', 'Cons.8 (zero_ref)', 'IoU of car']


def test_nine_rankings_look_different() -> None:
    sweep = planted_sweep([f'flip{i}' for i in range(9)], window=0)
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in draw_sweep(sweep).axes[0].lines}
    assert len(looks) == 9 + 2  # random orders and the line of no loss
