"""Which half of an image holds all of a class."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmposenc.regions import box_halves, halves, side


def test_halves_by_hand() -> None:
    labels = np.array([[1, 0, 1, 0, 1], [0, 0, 1, 1, 1]])
    assert halves(labels, 1) == (1, 5)  # The middle column of an odd width is right.
    assert halves(torch.from_numpy(labels[:, :4]), 1) == (1, 3)


def test_box_halves_by_hand() -> None:
    assert box_halves([(40, 0, 12, 10)], 100) == (100, 20)
    assert box_halves([(0, 0, 50, 10), (50, 5, 2, 3), (-5, 0, 5, 1)], 100) == (505, 6)
    assert box_halves([], 100) == (0, 0)


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 0.49))
def test_sides_mirror_and_hold_what_they_say(left: int, right: int, tolerance: float) -> None:
    found = side(left, right, tolerance)
    assert side(right, left, tolerance) == {'left': 'right', 'right': 'left', None: None}[found]
    if found == 'left':
        assert left > right
        assert right <= tolerance * (left + right)
    if min(left, right) == 0 and left != right:
        assert found == ('left' if left else 'right')
    if left == right:
        assert found is None


def test_the_tolerance_is_a_share_and_is_used() -> None:
    assert (side(90, 10), side(90, 10, 0.1)) == (None, 'left')
    for tolerance in (-0.1, 0.5, float('nan')):
        with pytest.raises(ValueError, match=r'tolerance is a share of the pixels in \[0, 0\.5\), got'):
            side(1, 0, tolerance)
