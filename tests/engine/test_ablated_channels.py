"""The ways in which a config names channels."""

from pathlib import Path

import pytest

from mmposenc.channels.channel_choice import random_channels
from mmposenc.mm.hooks.ablated_channels import AblatedChannels
from mmposenc.ranking import Ranking


@pytest.fixture
def path(tmp_path: Path) -> str:
    scores = [5.0, 9.0, 1.0, 7.0, 3.0]
    ranking = Ranking(layer='backbone[-1]', statistic='abs', pair='flip_image', num_images=3, scores=scores)
    ranking.save(tmp_path / 'ranking.json')
    return str(tmp_path / 'ranking.json')


def test_each_way_gives_its_channels(path: str) -> None:
    best = AblatedChannels(ranking=path, num_channels=3)
    assert (best.pick(5), best.layer, best.num_total, str(best)) == (
        (1, 3, 0),
        'backbone[-1]',
        5,
        f'the best of {path}',
    )
    part = AblatedChannels(layer='pool', ranking=path, window=[3, 2])
    assert (part.pick(5), part.layer, str(part)) == ((4, 2), 'pool', f'ranks 3 to 4 of {path}')
    listed = AblatedChannels(layer='pool', channels=[4, 0])
    assert (listed.pick(9), listed.num_total, listed.at_random, str(listed)) == ((4, 0), None, False, 'as listed')
    drawn = AblatedChannels(layer='pool', random=(3, 1))
    assert (drawn.pick(9), drawn.at_random) == (random_channels(9, 3, 1), True)
    assert drawn.pick(9)[:2] == AblatedChannels(layer='pool', random=(2, 1)).pick(9)


@pytest.mark.parametrize(
    'options, got',
    [
        (dict(), 'none of them'),
        (dict(channels=[1], random=(1, 0)), 'channels and random'),
        (dict(num_channels=1), 'num_channels'),
        (dict(window=(0, 1)), 'window'),
        (dict(channels=[1], ranking=True), 'channels and ranking'),
        (dict(random=(1, 0), ranking=True), 'random and ranking'),
        (dict(ranking=True, num_channels=1, window=(0, 1)), 'num_channels and window and ranking'),
    ],
)
def test_exactly_one_way_is_given(path: str, options: dict, got: str) -> None:
    if 'ranking' in options:
        options['ranking'] = path
    with pytest.raises(ValueError, match=rf'give one of: channels; .* Got {got}$'):
        AblatedChannels(layer='pool', **options)


def test_arguments_that_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r'num_channels must be from 0 to 5, the channels there are, got 6'):
        AblatedChannels(ranking=path, num_channels=6)
    with pytest.raises(ValueError, match=r'size must be from 0 to 2, the channels there are, got 3'):
        AblatedChannels(ranking=path, window=(3, 3))
    with pytest.raises(TypeError, match=r'window must be two integers, got \[1\]'):
        AblatedChannels(ranking=path, window=[1])
    with pytest.raises(TypeError, match=r'random must be two integers, got \(0.5, 1\)'):
        AblatedChannels(layer='pool', random=(0.5, 1))
    with pytest.raises(ValueError, match=r'channels must hold each channel once, but 2 is repeated'):
        AblatedChannels(layer='pool', channels=[2, 1, 2])
    with pytest.raises(ValueError, match=r"layer must be given where no ranking names it, e.g. layer='backbone\[-1\]'"):
        AblatedChannels(channels=[1])
    with pytest.raises(ValueError, match=r"layer must be a dotted module path.* got 'a\[b\]'"):
        AblatedChannels(layer='a[b]', channels=[1])
    with pytest.raises(FileNotFoundError, match=r'there is no ranking file at absent.json: make one with tools/rank'):
        AblatedChannels(ranking='absent.json', num_channels=1)
    Path(path).write_text(Path(path).read_text()[:80])
    with pytest.raises(ValueError, match=r'ranking.json is not JSON, or is cut short'):
        AblatedChannels(ranking=path, num_channels=1)
