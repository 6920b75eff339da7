"""Tests of mmposenc.channels.channel_choice."""

import pytest
import torch

from mmposenc.channels.channel_choice import check_channels, random_channels, random_ranking, top_channels, window
from mmposenc.ranking import Ranking


@pytest.fixture
def ranking():
    return Ranking(layer='neck', statistic='abs', pair='flip_image', scores=[0.1, 0.5, 0.3, 0.4], num_images=1)


def test_top_and_window_by_hand(ranking):
    assert [top_channels(ranking, n) for n in range(5)] == [(), (1,), (1, 3), (1, 3, 2), (1, 3, 2, 0)]
    assert window(ranking, 1, 2) == (3, 2)
    assert window(ranking, 4, 0) == ()


def test_windows_share_out_the_channels(ranking):
    assert window(ranking, 0, 2) + window(ranking, 2, 2) == top_channels(ranking, 4)
    assert ranking.order == (1, 3, 2, 0)


def test_random_channels_are_nested_seeded_and_even():
    draws = [random_channels(10, 4, seed) for seed in range(500)]
    assert all(len(set(draw)) == 4 for draw in draws)
    assert draws == [random_channels(10, 10, seed)[:4] for seed in range(500)]
    # Each of 10 channels is in a draw of 4 with probability 0.4: 200 of 500, standard deviation 11.
    counts = torch.tensor(draws).flatten().bincount(minlength=10)
    assert counts.min() > 150
    assert counts.max() < 250


def test_random_channels_do_not_touch_the_global_generator():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    random_channels(10, 4, seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_random_ranking_gives_the_random_channels():
    ranking = random_ranking(20, seed=5, layer='neck')
    assert (ranking.statistic, ranking.pair, ranking.data_set, ranking.num_channels) == ('random', 'none', 'seed 5', 20)
    assert all(top_channels(ranking, n) == random_channels(20, n, seed=5) for n in range(21))


def test_more_channels_than_there_are(ranking):
    with pytest.raises(ValueError, match='num_channels must be from 0 to 4, the channels there are, got 5'):
        top_channels(ranking, 5)
    with pytest.raises(ValueError, match=r'num_channels must be from 0 to 4, .* got -1'):
        top_channels(ranking, -1)
    with pytest.raises(ValueError, match=r'start must be from 0 to 4, .* got 5'):
        window(ranking, 5, 1)
    with pytest.raises(ValueError, match=r'size must be from 0 to 1, .* got 2'):
        window(ranking, 3, 2)
    with pytest.raises(ValueError, match='num_channels must be from 0 to 4'):
        random_channels(4, 5, seed=0)
    with pytest.raises(TypeError, match=r'num_channels must be an integer, got float 2.0'):
        top_channels(ranking, 2.0)


def test_check_channels():
    assert check_channels(torch.tensor([3, 1])) == check_channels(range(3, 0, -2)) == (3, 1)
    with pytest.raises(ValueError, match='channels must be 0 or more, got -2'):
        check_channels([0, -2])
    with pytest.raises(ValueError, match='channels must hold each channel once, but 4 is repeated'):
        check_channels([4, 1, 4])
    for bad in ([1.5], ['1'], 3):
        with pytest.raises(TypeError, match='channels must be a list of integers'):
            check_channels(bad)
