"""Which pixels belong to which region of an image, whatever its size."""

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
    """The image cut into strips, of which every region is a union (regions of Sec. 4.2.2, Fig. 6).

    A region is a box (x0, y0, x1, y1) in fractions of width and height. All borders of all boxes cut the image into
    strips (cells of a grid where a region is also cut by height), so that one count per strip serves any number of
    regions, overlapping or not. `overall`, the whole image, is always among the regions.

    A pixel belongs to the strip in which its centre lies, the lower border included: at width w the cut at fraction f
    lies before column ceil(f * w - 1/2). Regions that share a border thus partition the image at every size; at an odd
    width the middle column belongs to the right half.

    Args:
        regions: Names and boxes. Default: left 0-1/2, center 1/4-3/4, right 1/2-1 of the width (of 2048 px, the
            columns 0-1023, 512-1535 and 1024-2047).

    Raises:
        ValueError: If a box is not four fractions with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, or `overall` is
            given another box than the whole image.

    Example:
        >>> strips = RegionStrips(dict(left=(0, 0, 0.5, 1)))
        >>> len(strips), sorted(strips.regions)
        (2, ['left', 'overall'])
    """

    def __init__(self, regions: Mapping[str, Sequence[float]] | None = None) -> None:
        regions = HALVES_AND_CENTER if regions is None else regions
        if not isinstance(regions, Mapping):
            raise TypeError(f'regions must be a dict of name=(x0, y0, x1, y1), got {type(regions).__name__}')
        self.regions = {name: _checked_box(name, box) for name, box in regions.items()}
        if self.regions.setdefault('overall', WHOLE) != WHOLE:
            raise ValueError(
                f"region 'overall' is always the whole image {WHOLE}, got {self.regions['overall']}; "
                'give that box another name'
            )
        boxes = self.regions.values()
        self.columns = sorted({cut for x0, _, x1, _ in boxes for cut in (x0, x1)})
        self.rows = sorted({cut for _, y0, _, y1 in boxes for cut in (y0, y1)})

    def __len__(self) -> int:
        """Number of strips."""
        return (len(self.columns) - 1) * (len(self.rows) - 1)

    def index(self, height: int, width: int, device: torch.device | str = 'cpu') -> tuple[Tensor, Tensor]:
        """Where the strips lie in an image of this size, as two parts that broadcast.

        Args:
            height: Of the image, px.
            width: Of the image, px.
            device: Where the tensors are wanted.

        Returns:
            int32 tensors of shape (height, 1) and (1, width): their sum is the strip of every pixel. They are kept for
            the next image: do not write into them.

        Raises:
            ValueError: If the image is so small that a region has no pixel.
        """
        for name, (x0, y0, x1, y1) in self.regions.items():
            if _pixel(x0, width) == _pixel(x1, width) or _pixel(y0, height) == _pixel(y1, height):
                raise ValueError(
                    f'region {name!r:.100} = {(x0, y0, x1, y1)} holds no pixel of an image {width} px wide and '
                    f'{height} px high; widen the region or leave it out'
                )
        rows = _interval(tuple(self.rows), height, device)[:, None]
        return rows * (len(self.columns) - 1), _interval(tuple(self.columns), width, device)[None]

    def sum_regions(self, counts: Tensor) -> dict[str, Tensor]:
        """Add the strips of each region up.

        Args:
            counts: Counts by strip, shape (..., strips, classes, classes).

        Returns:
            Counts by region, in the order of `regions`, each of shape (..., classes, classes).
        """
        return {name: counts[..., self._members(box), :, :].sum(-3) for name, box in self.regions.items()}

    def _members(self, box: Box) -> list[int]:
        x0, y0, x1, y1 = box
        across = len(self.columns) - 1
        columns = range(self.columns.index(x0), self.columns.index(x1))
        return [row * across + column for row in range(self.rows.index(y0), self.rows.index(y1)) for column in columns]


def _pixel(fraction: float, size: int) -> int:
    return math.ceil(fraction * size - 0.5)


@lru_cache(maxsize=256)  # Most data sets have one size of image, or few: it goes to the device once.
def _interval(cuts: tuple[float, ...], size: int, device: torch.device | str) -> Tensor:
    inner = torch.tensor([_pixel(cut, size) for cut in cuts[1:-1]], dtype=torch.int64)
    return torch.bucketize(torch.arange(size), inner, out_int32=True, right=True).to(device)


def _checked_box(name: str, box: Sequence[float]) -> Box:
    if not isinstance(name, str) or not name.isprintable() or not name or '/' in name:
        raise ValueError(f"a region needs a name, one line of text without '/', got {name!r:.100}")
    form = f'region {name!r:.100} must be (x0, y0, x1, y1), fractions with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1'
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        raise ValueError(f'{form}, got {box!r:.100}')
    if not all(isinstance(cut, (int, float)) and not isinstance(cut, bool) for cut in box):
        raise ValueError(f'{form}, got {box!r:.100}')
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise ValueError(f'{form}, got {box!r:.100}; a box without width or height holds no pixel')
    return float(x0), float(y0), float(x1), float(y1)
