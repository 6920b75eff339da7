"""RegionStrips: which pixels belong to which region."""

from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st

from mmposenc.regions.strips import RegionStrips


def columns_of(strips, name, width, height=2):
    """Columns that hold pixels of a region, found through counts: class 0 everywhere, one pixel at a time."""
    row, column = strips.index(height, width)
    strip = (row + column).long()
    counts = torch.nn.functional.one_hot(strip, len(strips))[..., None, None]  # (H, W, strips, 1, 1)
    inside = strips.sum_regions(counts)[name][..., 0, 0]
    assert inside.max() <= 1
    return inside.any(0).nonzero().flatten().tolist()


def test_default_regions_are_the_papers_columns():
    strips = RegionStrips()
    assert len(strips) == 4
    assert columns_of(strips, 'left', 2048) == list(range(0, 1024))
    assert columns_of(strips, 'center', 2048) == list(range(512, 1536))
    assert columns_of(strips, 'right', 2048) == list(range(1024, 2048))
    assert columns_of(strips, 'overall', 2048) == list(range(2048))


def test_middle_column_of_an_odd_width_is_right():
    strips = RegionStrips()
    assert columns_of(strips, 'left', 5) == [0, 1]
    assert columns_of(strips, 'right', 5) == [2, 3, 4]
    # Centres .1 .3 .5 .7 .9: those in [1/4, 3/4).
    assert columns_of(strips, 'center', 5) == [1, 2, 3]


def test_a_box_is_cut_by_height_too():
    strips = RegionStrips({'corner': (0.5, 0.5, 1, 1)})
    row, column = strips.index(2, 4)
    assert (row + column).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    counts = torch.tensor([1, 10, 100, 1000]).view(4, 1, 1)
    assert {name: int(count) for name, count in strips.sum_regions(counts).items()} == {'corner': 1000, 'overall': 1111}


@given(
    cuts=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4, unique=True).map(sorted),
    width=st.integers(1, 97),
)
def test_regions_that_share_borders_partition_the_image(cuts, width):
    edges = [0.0, *cuts, 1.0]
    regions = {f'r{i}': (x0, 0, x1, 1) for i, (x0, x1) in enumerate(pairwise(edges))}
    strips = RegionStrips(regions)
    try:
        parts = [columns_of(strips, name, width) for name in regions]
    except ValueError:  # A region narrower than a pixel.
        reject()
    assert list(chain(*parts)) == list(range(width))
    centres = [(column + 0.5) / width for column in range(width)]
    for (x0, _, x1, _), part in zip(regions.values(), parts, strict=True):
        assert all(x0 - 1e-9 <= centres[column] <= x1 + 1e-9 for column in part)


@pytest.mark.parametrize(
    'box',
    [
        (0, 1),
        (0.5, 0, 0.5, 1),
        (0, 0.3, 1, 0.3),
        (0.6, 0, 0.4, 1),
        (-0.1, 0, 1, 1),
        (0, 0, 1.01, 1),
        (0, 0, float('nan'), 1),
        (0, 0, True, 1),
        ('0', 0, 1, 1),
        512,
        None,
    ],
)
def test_wrong_boxes_are_refused(box):
    with pytest.raises(ValueError, match=r"region 'left' must be \(x0, y0, x1, y1\), fractions with 0 <= x0 < x1 <= 1"):
        RegionStrips({'left': box})


def test_wrong_names_and_types_are_refused():
    with pytest.raises(TypeError, match='regions must be a dict'):
        RegionStrips([(0, 0, 1, 1)])
    with pytest.raises(ValueError, match="without '/'"):
        RegionStrips({'left/top': (0, 0, 1, 1)})
    with pytest.raises(ValueError, match="'overall' is always the whole image"):
        RegionStrips({'overall': (0, 0, 0.5, 1)})


def test_an_image_too_small_for_a_region_is_refused():
    with pytest.raises(ValueError, match=r"region 'left' = .* holds no pixel of an image 1 px wide and 4 px high"):
        RegionStrips().index(4, 1)
