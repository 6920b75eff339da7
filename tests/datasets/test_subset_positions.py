import pytest
import torch

from mmposenc.mm.datasets.subset_positions import subset_positions


def test_no_choice_means_all():
    assert subset_positions(7) is None


def test_an_integer_keeps_the_first():
    assert subset_positions(7, indices=3).tolist() == [0, 1, 2]
    assert subset_positions(7, indices=7).tolist() == list(range(7))


@pytest.mark.parametrize('kind', [list, tuple, torch.tensor, lambda x: torch.tensor(x).numpy()])
def test_positions_keep_the_order_given(kind):
    positions = subset_positions(7, indices=kind([6, 0, 3]))
    assert positions.tolist() == [6, 0, 3]
    assert positions.dtype == torch.int64


@pytest.mark.parametrize(
    'num_samples, fraction, expected',
    [
        (10, 0.5, [0, 2, 4, 6, 8]),
        (10, 0.3, [0, 3, 6]),
        (5, 1.0, [0, 1, 2, 3, 4]),
        (5, 1, [0, 1, 2, 3, 4]),
        (3, 0.01, [0]),
    ],
)
def test_fraction_by_hand(num_samples, fraction, expected):
    assert subset_positions(num_samples, fraction=fraction).tolist() == expected


@pytest.mark.parametrize('num_samples', [1, 7, 50, 997])
@pytest.mark.parametrize('fraction', [0.013, 0.1, 0.37, 0.5, 0.99, 1.0])
def test_fraction_is_evenly_spaced(num_samples, fraction):
    positions = subset_positions(num_samples, fraction=fraction)
    assert len(positions) == max(1, int(num_samples * fraction + 0.5))
    gaps = positions.diff()
    if len(gaps):
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1
    assert positions[-1] < num_samples


@pytest.mark.parametrize('fraction', [0, 0.0, -0.1, 1.5, float('nan'), True, '0.5'])
def test_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=r'fraction must be a number in \(0, 1\], got'):
        subset_positions(10, fraction=fraction)


@pytest.mark.parametrize('count', [0, -1, 11])
def test_count_out_of_range(count):
    with pytest.raises(ValueError, match=rf'indices={count} .* 1 to 10'):
        subset_positions(10, indices=count)


@pytest.mark.parametrize('indices, culprit', [([0, 10], 10), ([-1, 3], -1)])
def test_position_out_of_range(indices, culprit):
    with pytest.raises(ValueError, match=f'indices holds {culprit}; allowed are 0 to 9'):
        subset_positions(10, indices=indices)


def test_empty_positions():
    with pytest.raises(ValueError, match='indices is empty'):
        subset_positions(10, indices=[])


@pytest.mark.parametrize('indices', ['3', 2.0, True, [0.5], [True], [[1, 2]], ['a'], {'a': 1}])
def test_indices_of_another_type(indices):
    with pytest.raises(TypeError, match='indices must be an integer or a sequence of integers'):
        subset_positions(10, indices=indices)


def test_both_choices_at_once():
    with pytest.raises(ValueError, match='either indices or fraction, not both'):
        subset_positions(10, indices=3, fraction=0.5)
