"""The margins of a confusion matrix: all that mIoU and accuracy need, small enough to keep for every image."""

import torch
from torch import Tensor


def confusion_margins(confusion: Tensor) -> Tensor:
    """Pixels by class: labelled, predicted, and both (what Fig. 4 and 6 are drawn from).

    Margins of images, or of strips, add up like the counts they are of.

    Shape:
        Counts [label, prediction] (..., K, K); output (..., 3, K).
    """
    return torch.stack([confusion.sum(-1), confusion.sum(-2), confusion.diagonal(dim1=-2, dim2=-1)], dim=-2)


def margin_figures(margins: Tensor) -> dict[str, Tensor]:
    """Figures from margins, as `segmentation_figures` gives them from the counts (the figures of Fig. 4 and 6).

    Args:
        margins: From `confusion_margins`, also weighted sums of them, (..., 3, K).

    Returns:
        float64 tensors in percent: aAcc and mIoU of shape (...), IoU by class (..., K), NaN for a class with no pixel
        in label and prediction, which mIoU leaves out.
    """
    labelled, predicted, hits = margins.double().unbind(-2)
    iou = 100 * hits / (labelled + predicted - hits)
    return {'aAcc': 100 * hits.sum(-1) / labelled.sum(-1), 'mIoU': iou.nanmean(-1), 'IoU': iou}
