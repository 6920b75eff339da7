"""Regions of an image of any size, and one count of labels and predictions that serves all of them."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

Box = tuple[float, float, float, float]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
HALVES_AND_CENTER: dict[str, Box] = {
    'left': (0.0, 0.0, 0.5, 1.0),
    'center': (0.25, 0.0, 0.75, 1.0),
    'right': (0.5, 0.0, 1.0, 1.0),
}


class RegionStrips:
    """An image cut into strips, so that every region is a union of strips (Sec. 4.2.2, Fig. 6).

    A region is a box (x0, y0, x1, y1) in fractions of width and height, by default left 0-1/2, center 1/4-3/4 and right
    1/2-1 of the width. The borders of all boxes cut the image into strips, so that one count per strip serves any
    number of regions. `overall`, the whole image, is always one.

    A pixel belongs to the strip that holds its centre, the lower border included: at width w, the cut at fraction f is
    before column ceil(f * w - 1/2). Regions that share a border therefore partition an image of any size. At an odd
    width the middle column belongs to the right half.
    """

    def __init__(self, regions: Mapping[str, Sequence[float]] | None = None) -> None:
        regions = HALVES_AND_CENTER if regions is None else regions
        if not isinstance(regions, Mapping):
            raise TypeError(f'regions must be a dict of name=(x0, y0, x1, y1), got {type(regions).__name__}')
        self.regions = {name: _checked_box(name, box) for name, box in regions.items()}
        if self.regions.setdefault('overall', WHOLE) != WHOLE:
            got = self.regions['overall']
            raise ValueError(f"region 'overall' is always the whole image {WHOLE}, got {got}; give it another name")
        boxes = self.regions.values()
        self.columns = sorted({cut for x0, _, x1, _ in boxes for cut in (x0, x1)})
        self.rows = sorted({cut for _, y0, _, y1 in boxes for cut in (y0, y1)})

    def __len__(self) -> int:
        """Number of strips."""
        return (len(self.columns) - 1) * (len(self.rows) - 1)

    def index(self, height: int, width: int, device: torch.device | str = 'cpu') -> tuple[Tensor, Tensor]:
        """The strip of every pixel as the sum of two int32 terms, (height, 1) and (1, width); do not write into them.

        ValueError if the image is too small for one of the regions.
        """
        for name, (x0, y0, x1, y1) in self.regions.items():
            if _pixel(x0, width) == _pixel(x1, width) or _pixel(y0, height) == _pixel(y1, height):
                image = f'an image {width} px wide and {height} px high; widen the region or leave it out'
                raise ValueError(f'region {name!r:.100} = {(x0, y0, x1, y1)} holds no pixel of {image}')
        rows = _interval(tuple(self.rows), height, device)[:, None]
        return rows * (len(self.columns) - 1), _interval(tuple(self.columns), width, device)[None]

    def sum_regions(self, counts: Tensor) -> dict[str, Tensor]:
        """Sum counts or margins by strip, (..., strips, A, K), to those of each region, (..., A, K)."""
        grid = torch.arange(len(self)).view(len(self.rows) - 1, len(self.columns) - 1)
        sums = {}
        for name, (x0, y0, x1, y1) in self.regions.items():
            rows = slice(self.rows.index(y0), self.rows.index(y1))
            members = grid[rows, self.columns.index(x0) : self.columns.index(x1)].flatten()
            sums[name] = counts[..., members.tolist(), :, :].sum(-3)
        return sums


def count_strips(
    labels: Tensor, prediction: Tensor, num_classes: int, strips: RegionStrips, ignore_index: int = 255
) -> Tensor:
    """Count the pixels of each strip, label and prediction of one image, int64 (..., strips, K, K) (Sec. 4.2.2).

    Args:
        labels: Integer label map (H, W).
        prediction: Predicted classes (..., H, W) of any type (uint8 is the fastest). Leading dimensions are variants,
            e.g. the same network with different channels ablated.
        num_classes: K; labels and predictions are in [0, K), or it is a ValueError.
        ignore_index: Label of void pixels, which are not counted.
    """
    if labels.ndim != 2 or prediction.shape[-2:] != labels.shape:
        shapes = f'{tuple(labels.shape)} and {tuple(prediction.shape)}'
        raise ValueError(f'labels must be (H, W) and prediction (..., H, W) of the same size, got {shapes}')
    height, width = labels.shape
    row, column = strips.index(height, width, prediction.device)
    labels = labels.to(prediction.device, torch.int64)
    void = labels == ignore_index
    variants = prediction.reshape(-1, *labels.shape)
    extremes = [*labels.masked_fill(void, 0).aminmax(), *(variants if len(variants) else void).aminmax()]
    low, high, least, most = torch.stack([value.float() for value in extremes]).tolist()  # one wait for the device
    if not 0 <= low <= high < num_classes:
        _check_classes('label', labels, void, num_classes, f' or ignore_index={ignore_index}')
    if not 0 <= least <= most < num_classes:
        _check_classes('prediction', variants, void, num_classes)
        variants = variants.nan_to_num(0).clamp(0, num_classes - 1)

    # The bin of a pixel is (strip * (K + 1) + label) * K + prediction; void pixels have the label K.
    start = labels.int().masked_fill_(void, num_classes).add_(row * (num_classes + 1)).add_(column * (num_classes + 1))
    start *= num_classes
    shape = (len(strips), num_classes + 1, num_classes)
    counts = torch.zeros((len(variants), *shape), dtype=torch.int64, device=prediction.device)
    for one, count in zip(variants, counts, strict=True):
        count += torch.bincount((start + one.int()).flatten(), minlength=count.numel()).view(shape)
    return counts[:, :, :-1].reshape(*prediction.shape[:-2], len(strips), num_classes, num_classes)


def _pixel(fraction: float, size: int) -> int:
    return math.ceil(fraction * size - 0.5)


@lru_cache(maxsize=256)  # Most data sets have few image sizes: each is sent to the device once.
def _interval(cuts: tuple[float, ...], size: int, device: torch.device | str) -> Tensor:
    inner = torch.tensor([_pixel(cut, size) for cut in cuts[1:-1]], dtype=torch.int64)
    return torch.bucketize(torch.arange(size), inner, out_int32=True, right=True).to(device)


def _checked_box(name: str, box: Sequence[float]) -> Box:
    if not isinstance(name, str) or not name.isprintable() or not name or '/' in name:
        raise ValueError(f"a region needs a name, one line of text without '/', got {name!r:.100}")
    if isinstance(box, (list, tuple)) and len(box) == 4 and all(isinstance(cut, (int, float)) for cut in box):
        x0, y0, x1, y1 = box
        if 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1:
            return float(x0), float(y0), float(x1), float(y1)
    form = 'must be (x0, y0, x1, y1), fractions with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1'
    raise ValueError(f'region {name!r:.100} {form}, got {box!r:.100}')


def _check_classes(what: str, classes: Tensor, void: Tensor, num_classes: int, other: str = '') -> None:
    wrong = ~((classes >= 0) & (classes < num_classes)) & ~void  # NaN compares with nothing
    if wrong.any():
        listed = ', '.join(map(str, classes[wrong].unique()[:5].tolist()))
        advice = f'0..{num_classes - 1}{other}; check num_classes, ignore_index and reduce_zero_label'
        where = f'{what} {listed} in {int(wrong.sum())} pixels'
        raise ValueError(f'{where} is outside the {num_classes} classes: allowed are {advice}')
