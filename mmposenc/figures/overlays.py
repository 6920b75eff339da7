"""What a segmenter loses with the top channels of a ranking, image by image (Fig. 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmposenc.figures.style import WIDTH, panels, shared_legend, styled

# Colours of changed pixels (Okabe and Ito): correct before, correct now, neither.
LOST, GAINED, OTHER = (213, 94, 0), (0, 114, 178), (240, 228, 66)


@dataclass(frozen=True)
class AblatedPredictions:
    """One row of Fig. 5: a uint8 RGB image (H, W, 3), its label map and three predictions, classes (H, W) each.

    The predictions are of the whole network, with the top channels of a ranking ablated, and with as many random ones.
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
    with the `num_channels` top channels of `layer`. The legend has the classes that occur, in the colours of `palette`,
    RGB from 0 to 255.
    """
    titles = ['image', 'label', 'whole network']
    titles += [f'{num_channels} {kind} channels\nof {layer} ablated' for kind in ('top', 'random')]
    titles.append('changed by the\ntop channels')
    height, width = rows[0].labels.shape
    side = WIDTH / len(titles)
    figure, axes = panels(len(rows), len(titles), side, side * height / width + 0.35)
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title)
    colours = np.array([*palette, (255, 255, 255)], np.uint8)  # the last one where there is no label
    for row, places in zip(rows, axes, strict=True):
        labels = np.where((row.labels >= 0) & (row.labels < len(classes)), row.labels, -1)
        labelled = labels >= 0
        predictions = (row.whole, row.without_position, row.without_random)
        was, now, _ = hits = [labelled & (prediction == labels) for prediction in predictions]
        changed = row.without_position != row.whole
        # Changes lie in colour over the image in pale grey.
        difference = np.repeat(255 - (255 - row.image.mean(2, keepdims=True)) / 2, 3, axis=2).astype(np.uint8)
        for pixels, colour in ((changed, OTHER), (changed & was, LOST), (changed & now, GAINED)):
            difference[pixels] = colour
        pictures = [row.image, *(colours[classes_of] for classes_of in (labels, *predictions)), difference]
        shares = [f'{hit.sum() / labelled.sum() if labelled.any() else np.nan:.1%} correct' for hit in hits]
        texts = [row.name, '', *shares, f'{changed.mean():.1%} of the pixels']
        for place, picture, text in zip(places, pictures, texts, strict=True):
            place.imshow(picture, interpolation='nearest')
            place.set(xticks=[], yticks=[], xlabel=text)
            place.spines[:].set_visible(False)
    drawn = [part for row in rows for part in (row.labels, row.whole, row.without_position, row.without_random)]
    seen = np.unique(np.concatenate([part.ravel() for part in drawn]))
    legend = {classes[label]: palette[label] for label in seen if 0 <= label < len(classes)}
    legend |= {'changed: was correct': LOST, 'changed: now correct': GAINED, 'changed: neither correct': OTHER}
    shared_legend(figure, 6, {name: Patch(color=tuple(np.divide(colour, 255))) for name, colour in legend.items()})
    return figure
