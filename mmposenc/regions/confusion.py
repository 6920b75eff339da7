"""One confusion count that serves all regions and variants, and the figures that follow from it."""

import torch
from torch import Tensor

from mmposenc.regions.strips import RegionStrips


def count_strips(
    labels: Tensor, prediction: Tensor, num_classes: int, strips: RegionStrips, ignore_index: int = 255
) -> Tensor:
    """Count label x prediction x strip in one image, for one prediction or many (Sec. 4.2.2, regions of Fig. 6).

    One `bincount` per prediction, on its device. Labels are checked and prepared once for all predictions; beyond the
    counts, memory does not grow with their number.

    Args:
        labels: Integer label map; void pixels hold `ignore_index`.
        prediction: Predicted classes, any integer or float type (uint8 is the fastest). Leading dimensions are
            variants, e.g. the same network with different channels switched off.
        num_classes: Classes K; labels and predictions are in [0, K).
        strips: The strips to count in.
        ignore_index: Label of pixels that are not counted.

    Shape:
        Labels (H, W), prediction (..., H, W); output int64 (..., strips, K, K), indexed [strip, label, prediction].

    Raises:
        ValueError: If the sizes differ, or a counted pixel has a label or prediction outside the classes.
    """
    if labels.ndim != 2 or prediction.shape[-2:] != labels.shape:
        raise ValueError(
            f'labels must be (H, W) and prediction (..., H, W) of the same size, got {tuple(labels.shape)} and '
            f'{tuple(prediction.shape)}'
        )
    height, width = labels.shape
    row, column = strips.index(height, width, prediction.device)
    labels = labels.to(prediction.device, torch.int64)
    void = labels == ignore_index
    variants = prediction.reshape(-1, *labels.shape)
    extremes = [*labels.masked_fill(void, 0).aminmax(), *(variants if len(variants) else void).aminmax()]
    low, high, least, most = torch.stack([value.double() for value in extremes]).tolist()  # one wait for the device
    if not 0 <= low <= high < num_classes:
        _check_classes('label', labels, void, num_classes, f' or ignore_index={ignore_index}')
    if not 0 <= least <= most < num_classes:
        _check_classes('prediction', variants, void, num_classes)
        variants = variants.nan_to_num(0).clamp(0, num_classes - 1)

    # The bin of a pixel is (strip * (K + 1) + label) * K + prediction; void pixels go to the row after the classes.
    start = labels.int().masked_fill_(void, num_classes).add_(row * (num_classes + 1)).add_(column * (num_classes + 1))
    start *= num_classes
    shape = (len(strips), num_classes + 1, num_classes)
    counts = torch.zeros((len(variants), *shape), dtype=torch.int64, device=prediction.device)
    for one, count in zip(variants, counts, strict=True):
        count += torch.bincount((start + one.int()).flatten(), minlength=count.numel()).view(shape)
    return counts[:, :, :-1].reshape(*prediction.shape[:-2], len(strips), num_classes, num_classes)


def segmentation_figures(confusion: Tensor) -> dict[str, Tensor]:
    """mIoU, aAcc, mAcc and mDice from confusion counts (the figures of Fig. 4 and 6, as mmseg's IoUMetric).

    A class with no pixel in label and prediction has no IoU and no Dice, one with no pixel in the labels no Acc: they
    are NaN and left out of the means. Nothing is rounded.

    Args:
        confusion: Counts [label, prediction], shape (..., K, K).

    Returns:
        float64 tensors in percent: aAcc, mIoU, mAcc, mDice of shape (...), and by class IoU, Acc, Dice (..., K).
    """
    confusion = confusion.double()
    hits = confusion.diagonal(dim1=-2, dim2=-1)
    labelled, predicted = confusion.sum(-1), confusion.sum(-2)
    by_class = {
        'IoU': 100 * hits / (labelled + predicted - hits),
        'Acc': 100 * hits / labelled,
        'Dice': 200 * hits / (labelled + predicted),
    }
    means = {f'm{name}': values.nanmean(-1) for name, values in by_class.items()}
    return {'aAcc': 100 * hits.sum(-1) / labelled.sum(-1), **means, **by_class}


def _check_classes(what: str, classes: Tensor, void: Tensor, num_classes: int, other: str = '') -> None:
    wrong = ~((classes >= 0) & (classes < num_classes)) & ~void  # NaN compares with nothing
    if wrong.any():
        values = classes[wrong].unique().tolist()
        listed = ', '.join(str(value) for value in values[:5]) + (', ...' if len(values) > 5 else '')
        raise ValueError(
            f'{what} {listed} in {int(wrong.sum())} pixels is outside the {num_classes} classes: allowed are '
            f'0..{num_classes - 1}{other}; check num_classes, ignore_index and reduce_zero_label'
        )
