"""The picture of the sums of the pooled channels, on sums whose order is known."""

import numpy as np
import pytest

from mmposenc.figures.pooled_sums import draw_pooled_sums

# Two images a cell. Cells 0 and 2 are both silent and both said to be cell 2; cell 3 lies above cell 1.
SUMS = np.array([0.0, 2.0, 0.0, 90.0, 0.0, 4.0, 0.0, 110.0])
CELLS = np.array([0, 1, 2, 3, 0, 1, 2, 3])
COUNTS = np.array([[0, 0, 2, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 1, 0, 1]])


def test_cells_stand_in_the_order_of_their_sums():
    figure = draw_pooled_sums(SUMS, CELLS, COUNTS)
    bars, dots = figure.axes[0].collections
    assert dots.get_offsets().tolist() == [[0, 0], [1, 0], [2, 3], [3, 100]]
    assert dots.get_array().tolist() == [0, 100, 100, 50]
    assert dots.get_clim() == (0, 100)
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[0, 0], [0, 0], [2, 4], [90, 110]]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ['0, 0', '1, 0', '0, 1', '1, 1']
    assert figure.axes[0].get_title() == 'as much as 2.5 of 4 cells named rightly'
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < 0 < 110 < top


def test_sums_that_are_all_zero_or_negative_lie_inside_the_picture():
    for sums in (np.zeros(4), -np.arange(4.0)):
        axis = draw_pooled_sums(sums, np.arange(4), np.eye(4)).axes[0]
        bottom, top = axis.get_ylim()
        assert bottom < sums.min() <= sums.max() < top


def test_a_large_grid_has_no_name_under_each_dot():
    axis = draw_pooled_sums(np.arange(49.0), np.arange(49), np.eye(49)).axes[0]
    assert axis.get_xlabel() == 'cells, by their sum'


@pytest.mark.parametrize(
    'sums, cells, message',
    [
        (SUMS[:7], CELLS, 'of the same images'),
        (SUMS, CELLS[::-1] // 2, 'of the same images'),
        (np.full(8, np.nan), CELLS, 'not finite: the training diverged'),
    ],
)
def test_sums_that_cannot_be_drawn(sums, cells, message):
    with pytest.raises(ValueError, match=message):
        draw_pooled_sums(sums, cells, COUNTS)


def test_a_cell_without_an_image():
    with pytest.raises(ValueError, match='one in each cell at least'):
        draw_pooled_sums(SUMS[:3], CELLS[:3], np.diag([1, 1, 1, 0]))
