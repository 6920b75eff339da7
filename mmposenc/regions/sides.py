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
    """The half, 'left' or 'right', that holds all of a class, but for a share of `tolerance`; None if neither does.

    `left` and `right` are pixels or areas of the class in the halves; `tolerance` is in [0, 0.5).
    """
    if not 0 <= tolerance < 0.5:
        raise ValueError(f'tolerance is a share of the pixels in [0, 0.5), got {tolerance}')
    holds_all = left != right and min(left, right) <= tolerance * (left + right)
    return ('left' if left > right else 'right') if holds_all else None
