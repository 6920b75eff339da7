"""What the figures of the grid experiments show, read back from their axes."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from mmposenc.figures import draw_accuracy, draw_confusion, draw_inputs, draw_pooled_sums, save_figure
from mmposenc.figures.grids import located_by_sum

# Two images a cell. Cells 0 and 2 are both silent and both predicted as cell 2; cell 3 lies above cell 1.
SUMS = np.array([0.0, 2.0, 0.0, 90.0, 0.0, 4.0, 0.0, 110.0])
CELLS = np.array([0, 1, 2, 3, 0, 1, 2, 3])
COUNTS = np.array([[0, 0, 2, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 1, 0, 1]])


def run(net: str, grid_size: int, accuracy: float, paper: float | None, task='location', padding='zeros') -> dict:
    return dict(task=task, padding=padding, net=net, grid_size=grid_size, accuracy=accuracy, paper=paper)


def lines(axis) -> list[list[tuple[float, float]]]:
    return [[(float(x), float(y)) for x, y in line.get_xydata()] for line in axis.lines]


def test_inputs_are_shown_as_they_are_under_their_titles():
    images = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 3), dtype=np.uint8)
    figure = draw_inputs(images, [f'cell {i}' for i in range(7)], 3)
    assert len(figure.axes) == 12
    for i, axis in enumerate(figure.axes[:7]):
        assert np.array_equal(axis.images[0].get_array(), images[i])
        assert axis.get_title() == f'cell {i}'
        assert sorted({y for line in lines(axis) for _, y in line}) == [0, 1, 2, 4, 6]  # 0 to 1: along the axis
    assert not any(axis.images for axis in figure.axes[7:])


def test_accuracy_is_drawn_through_the_means_beside_the_papers_and_chance():
    runs = [run('permutenet', 5, 40.0, 37.8), run('permutenet', 3, 70.0, 78.8), run('permutenet', 3, 80.0, 78.8)]
    (axis,) = draw_accuracy(runs).axes
    assert lines(axis) == [
        [(3, 70), (3, 80), (5, 40)],  # each run
        [(3, 75), (5, 40)],  # means
        [(3, 78.8), (5, 37.8)],  # the paper's
        [(3, pytest.approx(100 / 9)), (5, 4)],  # chance
    ]
    assert axis.get_ylim()[0] <= 0 < 100 <= axis.get_ylim()[1]
    assert '%' in axis.get_ylabel()
    with pytest.raises(ValueError, match='no finished run to draw; train one first'):
        draw_accuracy([])


def test_a_panel_per_task_and_padding_and_a_legend_of_what_is_there():
    runs = [run('gapnet', 3, 99.0, 100.0), run('sumnet', 3, 30.0, None)]
    runs.append(run('gapnet', 3, 80.0, 83.8, 'category', 'reflect'))
    figure = draw_accuracy(runs)
    titles = [axis.get_title() for axis in figure.axes]
    tasks = ('location', 'category')
    assert titles == [f'{task}, {padding} padding' for task in tasks for padding in ('zero', 'reflect')]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ['GAPNet', 'sum of channels', "the paper's", 'chance']
    assert lines(figure.axes[3])[-1] == [(3, 10)]  # chance of ten categories
    assert [(3, 30)] in lines(figure.axes[0])
    assert len(lines(figure.axes[1])) == 1  # location with reflect padding: chance alone


def test_confusion_lies_on_the_grid_each_cell_in_its_place():
    counts = np.eye(4) * 3
    counts[1] = [2, 0, 0, 6]  # of 8 patches in cell 1, row 0 column 1: two are said to be in cell 0, six in cell 3
    figure = draw_confusion(counts, 2, 'GAPNet')
    panels = figure.axes[:4]
    assert [panel.images[0].get_array().tolist() for panel in panels] == [
        [[100, 0], [0, 0]],
        [[25, 0], [0, 75]],
        [[0, 0], [100, 0]],
        [[0, 0], [0, 100]],
    ]
    assert [panel.patches[0].get_xy() for panel in panels] == [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)]
    assert all(panel.images[0].get_clim() == (0, 100) for panel in panels)
    assert [text.get_text() for text in panels[1].texts] == ['25', '75']
    assert figure.get_suptitle() == 'GAPNet: 52.9% correct, chance 25.0%'  # 9 of 17


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path):
    for suffix in ('png', 'svg'):
        path = save_figure(draw_confusion(np.eye(4), 2), tmp_path / suffix / f'confusion.{suffix}')
        assert [file.name for file in path.parent.iterdir()] == [f'confusion.{suffix}']
        assert path.stat().st_size > 1000
    old = tmp_path / 'png' / 'confusion.png'
    assert cv2.imread(str(old)) is not None
    content, broken = old.read_bytes(), Figure()
    broken.text(0, 0, '$\\nosuchcommand$')
    with pytest.raises(ValueError, match='nosuchcommand'):
        save_figure(broken, old)
    assert old.read_bytes() == content


def test_cells_stand_in_the_order_of_their_sums():
    figure = draw_pooled_sums(SUMS, CELLS, COUNTS)
    bars, dots = figure.axes[0].collections
    assert dots.get_offsets().tolist() == [[0, 0], [1, 0], [2, 3], [3, 100]]
    assert dots.get_array().tolist() == [0, 100, 100, 50]
    assert dots.get_clim() == (0, 100)
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[0, 0], [0, 0], [2, 4], [90, 110]]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ['0, 0', '1, 0', '0, 1', '1, 1']
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < 0 < 110 < top


def test_sums_that_are_all_zero_or_negative_or_of_a_large_grid():
    for sums in (np.zeros(49), -np.arange(49.0)):
        axis = draw_pooled_sums(sums, np.arange(49), np.eye(49)).axes[0]
        bottom, top = axis.get_ylim()
        assert bottom < sums.min() <= sums.max() < top
        assert axis.get_xlabel() == 'cells, sorted by their sum'  # no name under each dot


def test_what_the_sum_alone_locates():
    # Means 0, 3, 0.2 and 100: only the second 0 of cell 2 is nearer to another cell's.
    assert located_by_sum(np.array([0, 2, 0.4, 90, 0, 4, 0, 110]), CELLS) == 87.5
    assert located_by_sum(np.ones(8), CELLS) == 25  # all alike: chance


@pytest.mark.parametrize('draw, arguments, message', [
    (draw_confusion, (np.ones((10, 10)), 3), r'3x3 grid .* shape \(9, 9\), got \(10, 10\); .* predicts locations'),
    (draw_confusion, (np.diag([1, 1, 0, 1]), 2), 'cell 2 has no sample; test on more images'),
    (draw_pooled_sums, (SUMS[:7], CELLS, COUNTS), 'of the same images'),
    (draw_pooled_sums, (SUMS, CELLS[::-1] // 2, COUNTS), 'of the same images'),
    (draw_pooled_sums, (np.full(8, np.nan), CELLS, COUNTS), 'not finite: the training diverged'),
    (draw_pooled_sums, (SUMS[:3], CELLS[:3], np.diag([1, 1, 1, 0])), 'at least one in each cell'),
])  # fmt: skip
def test_what_cannot_be_drawn(draw: Callable, arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        draw(*arguments)
