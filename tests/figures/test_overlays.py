"""What is drawn of Fig. 5: colours of labels and of changes, shares, titles."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mmposenc.figures.overlays import GAINED, LOST, OTHER, AblatedPredictions, draw_overlays

PALETTE = [[10, 20, 30], [200, 0, 0], [0, 0, 200]]


def row() -> AblatedPredictions:
    image = np.full((2, 4, 3), 100, np.uint8)
    labels = np.array([[0, 0, 1, 1], [1, 1, 0, 255]])
    whole = np.array([[0, 0, 0, 0], [1, 1, 0, 0]])
    position = np.array([[1, 0, 1, 2], [1, 1, 0, 1]])  # lost, kept, gained, neither; kept, kept, kept, unlabelled
    return AblatedPredictions('scene', image, labels, whole, position, whole)


def test_panels_show_what_they_say() -> None:
    figure = draw_overlays([row(), row()], ['sky', 'car', 'tree'], PALETTE, 7, 'backbone[-1]')
    assert len(figure.axes) == 12
    pictures = [axis.images[0].get_array() for axis in figure.axes[:6]]
    assert (pictures[0] == 100).all()
    assert pictures[1][0, 0].tolist() == PALETTE[0]
    assert pictures[1][1, 3].tolist() == [255, 255, 255]  # no label
    assert pictures[3][0, 3].tolist() == PALETTE[2]
    assert [tuple(pixel) for pixel in pictures[5][0, [0, 2, 3]]] == [LOST, GAINED, OTHER]
    assert pictures[5][0, 1].tolist() == [177] * 3  # pale grey: unchanged
    assert tuple(pictures[5][1, 3]) == OTHER
    # Of 7 labelled pixels the whole network has 5 right; without position channels 4 of 8 pixels change.
    shares = ['71.4% correct'] * 3
    assert [axis.get_xlabel() for axis in figure.axes[:6]] == ['scene', '', *shares, '50.0% of the pixels']
    assert figure.axes[3].get_title() == '7 top channels\nof backbone[-1] ablated'
    assert figure.axes[9].get_title() == ''


@pytest.mark.parametrize('void', [255, -1])
def test_the_legend_names_the_classes_that_occur(void: int) -> None:
    labels = np.where(row().labels == 255, void, row().labels)
    rows, classes = [replace(row(), labels=labels)], ['sky', 'car', 'tree', 'road']
    (legend,) = draw_overlays(rows, classes, [*PALETTE, [9] * 3], 7, 'neck').legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ['sky', 'car', 'tree', 'changed: was correct', 'changed: now correct', 'changed: neither correct']
    assert np.allclose(to_rgb(legend.get_patches()[1].get_facecolor()), np.array(PALETTE[1]) / 255)
