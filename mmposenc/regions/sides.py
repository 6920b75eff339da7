"""The half of an image that holds all of a class (Sec. 4.2.3, Fig. 6)."""

from collections.abc import Iterable, Sequence

from numpy import ndarray
from torch import Tensor


def halves(labels: ndarray | Tensor, label: int) -> tuple[int, int]:
    """Pixels of a class in the left and the right half of a label map (H, W); a middle column belongs to the right."""
    middle = labels.shape[1] // 2
    return int((labels[:, :middle] == label).sum()), int((labels[:, middle:] == label).sum())


def box_halves(boxes: Iterable[Sequence[float]], width: float) -> tuple[float, float]:
    """Area of boxes (x, y, width, height) in the left and the right half of an image, all in px."""
    left = right = 0.0
    for x, _, across, high in boxes:
        part = min(max(width / 2 - x, 0), across)
        left, right = left + part * high, right + (across - part) * high
    return left, right


def side(left: float, right: float, tolerance: float = 0.0) -> str | None:
    """The half, 'left' or 'right', that holds all of a class; None if it is absent or in both.

    `left` and `right` are pixels or areas in the halves; `tolerance` is the share that may lie in the other half, in
    [0, 0.5).

    Example:
        >>> side(90, 10), side(90, 10, tolerance=0.1)
        (None, 'left')
    """
    if not 0 <= tolerance < 0.5:
        raise ValueError(f'tolerance is a share of the pixels in [0, 0.5), got {tolerance}')
    allowed = tolerance * (left + right)
    if left > right:
        return 'left' if right <= allowed else None
    return 'right' if right > left and left <= allowed else None
