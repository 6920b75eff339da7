"""Pictures of what a segmenter loses with its position channels (Fig. 5)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmposenc.figures.ablated_predictions import AblatedPredictions

LOST, GAINED, OTHER = (213, 94, 0), (0, 114, 178), (240, 228, 66)
"""Colours of changed pixels (Okabe and Ito's, which the colour-blind tell apart): right before, right now, neither."""


def draw_overlays(
    rows: Sequence[AblatedPredictions],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    num_channels: int,
    layer: str,
) -> Figure:
    """Draw image, label, predictions and difference, a row for each image (Fig. 5).

    Beneath a prediction stands the share of labelled pixels that it has right, and how many differ from the whole
    network's. The last column shows where the position channels make the difference.

    Args:
        rows: What to draw.
        classes: Names of the classes, for the legend; only those that occur are listed.
        palette: RGB of each class, 0 to 255.
        num_channels: N, how many channels were switched off.
        layer: Where.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError('there is no image to draw: name at least one')
    height, width = rows[0].labels.shape
    panel, aspect = 2.6, height / width
    figure = Figure(figsize=(6 * panel + 0.4, len(rows) * (panel * aspect + 0.3) + 1.5), layout='constrained')
    axes = figure.subplots(len(rows), 6, squeeze=False)
    figure.suptitle(f'{num_channels} channels of {layer} switched off', fontsize=13)
    titles = [
        'image',
        'label',
        'prediction',
        f'{num_channels} position\nchannels off',
        f'{num_channels} random\nchannels off',
        'changed without the\nposition channels',
    ]
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=12)
    for row, places in zip(rows, axes, strict=True):
        counted = _labelled(row, len(classes))
        pictures = [row.image, _coloured(np.where(counted, row.labels, -1), palette)]
        texts = [row.name, '']
        for prediction in (row.whole, row.without_position, row.without_random):
            pictures.append(_coloured(prediction, palette))
            texts.append(_shares(prediction, row, counted))
        pictures.append(_difference(row, counted))
        texts[2] = texts[2].partition(',')[0]
        for place, picture, text in zip(places, [*pictures], [*texts, ''], strict=True):
            place.imshow(picture, interpolation='nearest')
            place.set(xticks=[], yticks=[])
            place.set_xlabel(text, fontsize=10)
    seen = np.unique(np.concatenate([part.ravel() for row in rows for part in (row.labels, row.whole)]))
    legend = {classes[label]: palette[label] for label in seen if label < len(classes)}
    legend |= {'changed: was right': LOST, 'changed: now right': GAINED, 'changed: neither right': OTHER}
    handles = [Patch(color=_fractions(colour), label=name) for name, colour in legend.items()]
    figure.legend(handles=handles, loc='outside lower center', ncols=8, fontsize=10, frameon=False)
    return figure


def _fractions(colour: Sequence[int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def _labelled(row: AblatedPredictions, num_classes: int) -> np.ndarray:
    return (row.labels >= 0) & (row.labels < num_classes)


def _coloured(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """RGB of a label map, white where there is no label."""
    colours = np.array([*palette, (255, 255, 255)], np.uint8)
    return colours[np.where(labels < 0, len(palette), labels)]


def _shares(prediction: np.ndarray, row: AblatedPredictions, counted: np.ndarray) -> str:
    right = (prediction == row.labels)[counted].mean() if counted.any() else float('nan')
    return f'{right:.1%} right, {(prediction != row.whole).mean():.1%} changed'


def _difference(row: AblatedPredictions, counted: np.ndarray) -> np.ndarray:
    """The image in pale grey, with changed pixels in colour."""
    grey = 255 - (255 - row.image.mean(2, keepdims=True)) / 2
    picture = np.repeat(grey, 3, axis=2).astype(np.uint8)
    changed = row.without_position != row.whole
    picture[changed] = OTHER
    picture[changed & counted & (row.whole == row.labels)] = LOST
    picture[changed & counted & (row.without_position == row.labels)] = GAINED
    return picture
