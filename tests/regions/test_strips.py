"""Which pixels belong to which region, and the counts in them."""

from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st

from mmposenc.regions import RegionStrips, count_strips

HALVES = RegionStrips({'left': (0, 0, 0.5, 1), 'right': (0.5, 0, 1, 1)})
LABELS = torch.tensor([[0, 0, 1, 255], [0, 1, 1, 2]])
PREDICTION = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 1]])


def columns_of(strips, name, width):
    """Columns that hold pixels of a region, found through counts: class 0 everywhere, one pixel at a time."""
    row, column = strips.index(2, width)
    counts = torch.nn.functional.one_hot((row + column).long(), len(strips))[..., None, None]  # (H, W, strips, 1, 1)
    inside = strips.sum_regions(counts)[name][..., 0, 0]
    assert inside.max() <= 1
    return inside.any(0).nonzero().flatten().tolist()


def test_default_regions_are_the_papers_columns():
    strips, ends = RegionStrips(), dict(left=(0, 1024), center=(512, 1536), right=(1024, 2048), overall=(0, 2048))
    assert len(strips) == 4
    assert all(columns_of(strips, name, 2048) == list(range(*columns)) for name, columns in ends.items())
    # At an odd width the middle column is right; of the centres .1 .3 .5 .7 .9 three are in [1/4, 3/4).
    found = [columns_of(strips, name, 5) for name in ('left', 'center', 'right')]
    assert found == [[0, 1], [1, 2, 3], [2, 3, 4]]


def test_a_box_is_cut_by_height_too():
    strips = RegionStrips({'corner': (0.5, 0.5, 1, 1), 'top': (0, 0, 1, 0.5)})
    row, column = strips.index(2, 4)
    assert (row + column).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    counts = torch.tensor([1, 10, 100, 1000]).view(4, 1, 1)
    sums = {name: int(count) for name, count in strips.sum_regions(counts).items()}
    assert sums == {'corner': 1000, 'top': 11, 'overall': 1111}


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4, unique=True).map(sorted), st.integers(1, 97))
def test_regions_that_share_borders_partition_the_image(cuts, width):
    regions = {f'r{i}': (x0, 0, x1, 1) for i, (x0, x1) in enumerate(pairwise([0.0, *cuts, 1.0]))}
    strips = RegionStrips(regions)
    try:
        parts = [columns_of(strips, name, width) for name in regions]
    except ValueError:  # A region narrower than a pixel.
        reject()
    assert list(chain(*parts)) == list(range(width))
    centres = [(column + 0.5) / width for column in range(width)]
    for (x0, _, x1, _), part in zip(regions.values(), parts, strict=True):
        assert all(x0 - 1e-9 <= centres[column] <= x1 + 1e-9 for column in part)


def test_counts_by_hand():
    labels, prediction = LABELS.clone(), PREDICTION.clone()
    left, right = count_strips(labels, prediction, 3, HALVES)
    assert left.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert right.tolist() == [[0, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert labels.equal(LABELS)
    assert prediction.equal(PREDICTION)


@given(
    st.lists(st.sampled_from([0, 1, 2, 255]), min_size=6, max_size=6),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_counted_pixels_are_those_of_a_loop(labels, prediction):
    expected = torch.zeros(2, 3, 3, dtype=torch.int64)
    for place, (label, predicted) in enumerate(zip(labels, prediction, strict=True)):
        if label != 255:
            expected[int(place % 3 > 0), label, predicted] += 1  # Of 3 columns the middle one is right.
    maps = torch.tensor([labels, prediction]).view(2, 2, 3)
    assert count_strips(*maps, 3, HALVES).equal(expected)


def test_variants_count_as_each_alone_and_in_any_type():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (7, 13), generator=generator)
    labels[2] = 255
    variants = torch.randint(0, 5, (2, 3, 7, 13), generator=generator)
    counts = count_strips(labels, variants, 5, RegionStrips())
    assert (counts.shape, counts.dtype) == ((2, 3, 4, 5, 5), torch.int64)
    assert counts.sum((-3, -2, -1)).eq(7 * 13 - 13).all()
    for count, variant in zip(counts.flatten(0, 1), variants.flatten(0, 1), strict=True):
        assert count.equal(count_strips(labels, variant, 5, RegionStrips()))
    assert counts.equal(count_strips(labels.to(torch.uint8), variants.to(torch.uint8), 5, RegionStrips()))
    assert counts.equal(count_strips(labels, variants.float(), 5, RegionStrips()))
    assert count_strips(labels, variants[:0, 0], 5, RegionStrips()).shape == (0, 4, 5, 5)


def test_what_void_pixels_hold_does_not_matter():
    expected = count_strips(LABELS, PREDICTION, 3, HALVES)
    prediction = PREDICTION.clone()
    prediction[0, 3] = 255
    assert count_strips(LABELS, prediction, 3, HALVES).equal(expected)
    labels = torch.where(LABELS == 255, -100, LABELS)
    assert count_strips(labels, PREDICTION, 3, HALVES, ignore_index=-100).equal(expected)
    counts = count_strips(LABELS.clamp(max=2), PREDICTION, 3, HALVES, ignore_index=0)
    assert (counts.sum(), counts.sum(0)[0].sum()) == (5, 0)


FORM = r"region 'left' must be \(x0, y0, x1, y1\), fractions with 0 <= x0 < x1 <= 1"
BOXES = [(0, 1), (0.5, 0, 0.5, 1), (0, 0.3, 1, 0.3), (-0.1, 0, 1, 1), (0, 0, 1.01, 1), 512, (0, 0, float('nan'), 1)]


@pytest.mark.parametrize('regions, message', [
    *(({'left': box}, FORM) for box in [*BOXES, ('0', 0, 1, 1)]),
    ([(0, 0, 1, 1)], 'regions must be a dict'),
    ({'left/top': (0, 0, 1, 1)}, "without '/'"),
    ({'overall': (0, 0, 0.5, 1)}, "'overall' is always the whole image"),
])  # fmt: skip
def test_wrong_regions(regions, message):
    with pytest.raises((TypeError, ValueError), match=message):
        RegionStrips(regions)


@pytest.mark.parametrize('label, predicted, message', [
    *((label, 0, rf'label {label} in 1 pixels is outside the 3 classes: .* 0\.\.2 or ig') for label in (3, -1)),
    *((0, value, rf'prediction {value} in 1 pixels is outside') for value in (3, -1, float('nan'), float('inf'))),
])  # fmt: skip
def test_classes_that_do_not_exist(label, predicted, message):
    labels, prediction = LABELS.clone(), PREDICTION.to(torch.tensor(predicted).dtype)
    labels[0, 0], prediction[0, 0] = label, predicted
    with pytest.raises(ValueError, match=message):
        count_strips(labels, prediction, 3, HALVES)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match=r'of the same size, got \(2, 4\) and \(2, 3\)'):
        count_strips(LABELS, PREDICTION[:, :3], 3, HALVES)
    with pytest.raises(ValueError, match=r"region 'left' = .* holds no pixel of an image 1 px wide and 4 px high"):
        RegionStrips().index(4, 1)
