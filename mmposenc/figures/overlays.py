"""What a segmenter loses with its position channels, image by image (Fig. 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmposenc.figures.style import WIDTH, panels, shared_legend, styled

LOST, GAINED, OTHER = (213, 94, 0), (0, 114, 178), (240, 228, 66)
"""Colours of changed pixels (Okabe and Ito): correct before, correct now, neither."""
_COLUMNS = 6


@dataclass(frozen=True)
class AblatedPredictions:
    """One row of Fig. 5: a uint8 RGB image (H, W, 3), its label map and three predictions, classes (H, W) each.

    The predictions are of the whole network, with position channels ablated, and with as many random ones ablated.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    whole: np.ndarray
    without_position: np.ndarray
    without_random: np.ndarray


@styled
def draw_overlays(
    rows: Sequence[AblatedPredictions],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    num_channels: int,
    layer: str,
) -> Figure:
    """Draw image, label, predictions and difference, a row for each image (Fig. 5).

    Below a prediction stands the share of labelled pixels that are correct. The last column shows which pixels change
    with the position channels.

    Args:
        rows: What to draw, at least one.
        classes: Names of the classes, for the legend; only those that occur are listed.
        palette: RGB of each class, 0 to 255.
        num_channels: How many channels were ablated.
        layer: Where.
    """
    height, width = rows[0].labels.shape
    figure, axes = panels(len(rows), _COLUMNS, WIDTH / _COLUMNS, WIDTH / _COLUMNS * height / width + 0.35)
    titles = [
        'image',
        'label',
        'whole network',
        f'{num_channels} position channels\nof {layer} ablated',
        f'{num_channels} random channels\nof {layer} ablated',
        'changed by the\nposition channels',
    ]
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title)
    for row, places in zip(rows, axes, strict=True):
        counted = (row.labels >= 0) & (row.labels < len(classes))
        predictions = (row.whole, row.without_position, row.without_random)
        pictures = [row.image, _coloured(np.where(counted, row.labels, -1), palette)]
        pictures += [_coloured(prediction, palette) for prediction in predictions]
        shares = [f'{_correct(prediction, row, counted):.1%} correct' for prediction in predictions]
        changed = f'{(row.without_position != row.whole).mean():.1%} of the pixels'
        texts = [row.name, '', *shares, changed]
        for place, picture, text in zip(places, [*pictures, _difference(row, counted)], texts, strict=True):
            place.imshow(picture, interpolation='nearest')
            place.set(xticks=[], yticks=[], xlabel=text)
            place.spines[:].set_visible(False)
    seen = np.unique(np.concatenate([part.ravel() for row in rows for part in (row.labels, row.whole)]))
    legend = {classes[label]: palette[label] for label in seen if label < len(classes)}
    legend |= {'changed: was correct': LOST, 'changed: now correct': GAINED, 'changed: neither correct': OTHER}
    shared_legend(figure, 6, {name: Patch(color=tuple(np.divide(colour, 255))) for name, colour in legend.items()})
    return figure


def _coloured(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """RGB of a label map, white where there is no label."""
    colours = np.array([*palette, (255, 255, 255)], np.uint8)
    return colours[np.where(labels < 0, len(palette), labels)]


def _correct(prediction: np.ndarray, row: AblatedPredictions, counted: np.ndarray) -> float:
    return float((prediction == row.labels)[counted].mean()) if counted.any() else float('nan')


def _difference(row: AblatedPredictions, counted: np.ndarray) -> np.ndarray:
    """The image in pale grey, with changed pixels in colour."""
    grey = 255 - (255 - row.image.mean(2, keepdims=True)) / 2
    picture = np.repeat(grey, 3, axis=2).astype(np.uint8)
    changed = row.without_position != row.whole
    picture[changed] = OTHER
    picture[changed & counted & (row.whole == row.labels)] = LOST
    picture[changed & counted & (row.without_position == row.labels)] = GAINED
    return picture
