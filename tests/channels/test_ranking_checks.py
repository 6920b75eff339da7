"""Tests of mmposenc.ranking."""

import pytest

from mmposenc.ranking import check_descending, check_permutation, check_scores, scores_of_order, short


def test_scores_become_floats():
    assert check_scores([1, 2.5, -3]) == (1.0, 2.5, -3.0)
    assert all(type(score) is float for score in check_scores([1, 2]))


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), 10**400, True, None, '1', [1.0]])
def test_scores_must_be_finite_numbers(bad):
    with pytest.raises(ValueError, match=r'scores must be finite numbers, got .* for channel 1$'):
        check_scores([0.5, bad])


@pytest.mark.parametrize('bad', [[], {}, None, 3, 'abc'])
def test_scores_must_be_a_list(bad):
    with pytest.raises(ValueError, match='scores must be a list of C numbers'):
        check_scores(bad)


def test_permutation():
    assert check_permutation([2, 0, 1]) == (2, 0, 1)
    with pytest.raises(ValueError, match='order must hold each channel once, but channel 2 is repeated at rank 2'):
        check_permutation([2, 0, 2])
    for bad in (3, -1, 1.0, True, None):
        with pytest.raises(ValueError, match=r'overall must hold each channel from 0 to 2 once, got .* at rank 1'):
            check_permutation([2, bad, 0], 'overall')
    for bad in ([], None, 'ab', {0: 0}):
        with pytest.raises(ValueError, match='order must be a list of channels'):
            check_permutation(bad)


def test_descending():
    check_descending((1.0, 3.0, 3.0), (2, 1, 0))
    with pytest.raises(ValueError, match=r'channel 2 at rank 2 scores 3.0 and channel 0 before it 1.0'):
        check_descending((1.0, 3.0, 3.0), (1, 0, 2))


def test_scores_of_order_rank_as_the_order_does():
    assert scores_of_order([2, 0, 1]) == (2.0, 1.0, 3.0)


def test_short():
    assert short('left') == "'left'"
    assert short([1, 2]) == '[1, 2]'
    assert short(10**5000) == 'an integer of 16610 bits'
    assert len(short(list(range(10**6)))) == 63
    assert len(short({'key': 'x' * 100})) == 63
