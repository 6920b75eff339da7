"""What Fig. 4 and Fig. 6 show, read back from their axes."""

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from small_sweep import write_sweep

from mmposenc.figures.curves import draw_channels_off, draw_region_attack
from mmposenc.figures.sweep_curve import SweepCurve, sweep_curves
from mmposenc.figures.sweep_table import read_sweep

SIDES = dict(left='left', overall='overall', right='right')


def curves_of(folder: Path, *regions: str, metrics: tuple[str, ...] = ('mIoU',), **options) -> list[SweepCurve]:
    points, _ = read_sweep(write_sweep(folder, **options))
    return [c for metric in metrics for region in regions or ('overall',) for c in sweep_curves(points, metric, region)]


def lines(axis: Axes) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): [(float(x), float(y)) for x, y in line.get_xydata()] for line in axis.lines}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_top_row_shows_the_rows_of_the_table(tmp_path: Path) -> None:
    figure = draw_channels_off(curves_of(tmp_path))
    top, _ = figure.axes
    shown = lines(top)
    assert shown['overall'] == [(0, 80), (2, 70), (4, 60)]
    assert shown['left'] == [(0, 80), (2, 74), (4, 68)]
    assert shown['right'] == [(0, 80), (2, 78), (4, 76)]
    assert shown['random, mean and range of 2 draws'] == [(0, 80), (2, 78), (4, 76)]
    assert {y for _, y in shown['no channel off']} == {80}
    (band,) = top.collections
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(0, 80), (2, 77), (2, 79), (4, 74), (4, 78)}
    assert set(legend(figure)) == set(shown)
    assert top.get_title() == 'off at pool'


def test_the_lower_row_shows_each_window_over_its_ranks(tmp_path: Path) -> None:
    _, windows = draw_channels_off(curves_of(tmp_path)).axes
    steps = {to_hex(step.get_edgecolor()): step.get_data() for step in windows.patches if hasattr(step, 'get_data')}
    shown = lines(windows)
    colours = {line.get_label(): to_hex(line.get_color()) for line in windows.lines}
    # The ranks 0 and 1, then 2 and 3; the second window costs 2 points less a channel.
    for name, values in (('overall', [70, 74]), ('left', [74, 78]), ('right', [78, 82])):
        values_shown, edges, _ = steps[colours[name]]
        assert values_shown.tolist() == values
        assert list(edges) == [0, 2, 4]
        assert shown[name] == [(1, values[0]), (3, values[1])]
    # As many random channels as a window has.
    assert {y for _, y in shown['random, mean and range of 2 draws']} == {78}
    (band,) = (patch for patch in windows.patches if not hasattr(patch, 'get_data'))
    assert (band.get_y(), band.get_y() + band.get_height()) == (77, 79)
    assert 'rank of the 2 channels' in windows.get_xlabel()


def test_layers_stand_side_by_side_and_metrics_below_one_another(tmp_path: Path) -> None:
    curves = curves_of(tmp_path, metrics=('top1', 'cons8_zero_ref'), layers=('pool', 'backbone[-1]'), classifier=True)
    figure = draw_channels_off(curves)
    assert len(figure.axes) == 4 * 2
    assert [axis.get_title() for axis in figure.axes[:2]] == ['off at pool', 'off at backbone[-1]']
    names = [axis.get_ylabel().split('\n')[0] for axis in figure.axes[::2]]
    assert names == ['Top-1, %'] * 2 + ['Cons.8 (zero_ref), %'] * 2
    assert lines(figure.axes[4])['overall'] == [(0, 90), (2, 80), (4, 70)]
    for left, right in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        assert left.get_ylim() == right.get_ylim()


def test_each_layer_has_its_own_curves(tmp_path: Path) -> None:
    curves = curves_of(tmp_path, layers=('pool', 'backbone'), window=0)
    deeper = [c._replace(values=tuple(v - n for v, n in zip(c.values, c.sizes, strict=True))) for c in curves]
    mixed = [c if c.layer == 'pool' else d for c, d in zip(curves, deeper, strict=True)]
    pool, backbone = draw_channels_off(mixed).axes
    assert len(pool.lines) == len(backbone.lines) == 3 + 2
    assert lines(pool)['left'] == [(0, 80), (2, 74), (4, 68)]
    assert lines(backbone)['left'] == [(0, 80), (2, 72), (4, 64)]


def test_an_axis_that_does_not_begin_at_zero_says_so(tmp_path: Path) -> None:
    top, _ = draw_channels_off(curves_of(tmp_path, 'left')).axes
    low = top.get_ylim()[0]
    assert 40 < low < 50
    assert top.get_ylabel() == f'mIoU of region left, %\n(axis begins at {low:.1f})'


def test_an_axis_begins_at_zero_where_the_curves_fall_deep(tmp_path: Path) -> None:
    curves = curves_of(tmp_path, window=0)
    deep = [curve._replace(values=(80.0, 40.0, 3.0)) if curve.ranking == 'left' else curve for curve in curves]
    (top,) = draw_channels_off(deep).axes
    assert top.get_ylim()[0] == 0
    assert top.get_ylabel() == 'mIoU, %'


def test_one_draw_is_called_one_draw(tmp_path: Path) -> None:
    assert 'random, 1 draw' in legend(draw_channels_off(curves_of(tmp_path, num_random=1)))


def test_windows_alone_need_no_random_draws(tmp_path: Path) -> None:
    (axis,) = draw_channels_off(curves_of(tmp_path, numbers=(), num_random=0)).axes
    assert set(lines(axis)) == {'overall', 'left', 'right'}


def test_nine_rankings_look_different(tmp_path: Path) -> None:
    first, *_, random = curves_of(tmp_path, window=0)
    figure = draw_channels_off([*(first._replace(ranking=f'r{i}') for i in range(9)), random])
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 9 + 2


def test_no_random_draws_and_no_curves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'no random draws.*sweep again with --random 5, into another folder'):
        draw_channels_off(curves_of(tmp_path, num_random=0))
    with pytest.raises(ValueError, match='there is no curve to draw'):
        draw_channels_off([])


def test_the_region_attack_has_both_halves(tmp_path: Path) -> None:
    figure = draw_region_attack(curves_of(tmp_path, 'left', 'right', layers=('pool', 'backbone')), SIDES)
    assert [axis.get_title() for axis in figure.axes] == [
        f'{half} half, off at {layer}' for layer in ('pool', 'backbone') for half in ('left', 'right')
    ]
    for axis, whole in zip(figure.axes, [70, 75] * 2, strict=True):
        shown = lines(axis)
        assert {y for _, y in shown.pop('no channel off')} == {whole}
        costs = {'left channels': 3, 'overall channels': 5, 'right channels': 1}
        assert shown == {name: [(n, whole - n * cost) for n in (0, 2, 4)] for name, cost in costs.items()}
    assert legend(figure) == ['no channel off', 'left channels', 'overall channels', 'right channels']


def test_a_ranking_that_is_not_called_by_its_side_is_named(tmp_path: Path) -> None:
    curves = [
        curve._replace(ranking='flip') if curve.ranking == 'overall' else curve
        for curve in curves_of(tmp_path, 'left', 'right')
    ]
    figure = draw_region_attack(curves, {**SIDES, 'overall': 'flip'})
    assert legend(figure)[1:] == ['left channels', 'overall channels (flip)', 'right channels']


@pytest.mark.parametrize(
    'regions, sides, message',
    [
        (('left',), SIDES, 'regions left$'),
        (('left', 'right'), dict(left='left', overall='overall'), 'got rankings of left, overall, regions left, right'),
        (('left', 'right'), {**SIDES, 'right': 'other'}, 'got rankings of left, overall, regions'),
    ],
)
def test_a_region_attack_without_one_of_its_parts(
    tmp_path: Path, regions: tuple[str, ...], sides: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=f'Fig. 6 needs rankings of left, overall and right.*{message}'):
        draw_region_attack(curves_of(tmp_path, *regions), sides)
