"""Tests of mmposenc.ranking."""

import dataclasses
import json
import os

import pytest
from torch import nn

from mmposenc.ranking import Ranking, model_fingerprint

CONDITIONS = dict(layer='backbone[-1]', statistic='signed', pair='flip_image', num_images=7)


def rewritten(ranking, path, **changes):
    """The ranking's file with entries changed, or taken out where the change is `...`."""
    ranking.save(path)
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in document.items() if value is not ...}))
    return path


def test_order_is_by_score_and_equal_scores_keep_channel_order():
    assert Ranking(**CONDITIONS, scores=[1, 3, 2, 3, -1]).order == (1, 3, 2, 0, 4)
    assert Ranking(**CONDITIONS, scores=[1, 3, 2, 3, -1], order=[3, 1, 2, 0, 4]).order == (3, 1, 2, 0, 4)


def test_json_round_trip_is_exact(ranking, tmp_path):
    path = tmp_path / 'new folder' / 'ranking.json'
    ranking.save(path)
    assert Ranking.load(path) == ranking
    assert Ranking.load(path).scores == (-0.5, 1 / 3, 2.0, 1e-300)
    document = json.loads(path.read_text())
    assert document['format'] == 'mmposenc.ranking/1'
    assert (document['num_channels'], document['order']) == (4, [2, 1, 3, 0])
    assert document['versions'] == {'torch': '2.4.0', 'mmseg': '1.2.2'}
    assert os.listdir(path.parent) == ['ranking.json']


def test_a_failed_save_leaves_the_old_file_and_no_other(ranking, tmp_path, monkeypatch):
    path = tmp_path / 'ranking.json'
    ranking.save(path)

    def full_disk(source, target):
        raise OSError('no space left')

    monkeypatch.setattr(os, 'replace', full_disk)
    with pytest.raises(OSError, match='no space left'):
        dataclasses.replace(ranking, region='right').save(path)
    assert os.listdir(tmp_path) == ['ranking.json']
    assert Ranking.load(path).region == 'left'


def test_a_ranking_is_frozen_and_can_be_a_key(ranking):
    with pytest.raises(dataclasses.FrozenInstanceError):
        ranking.region = 'right'
    assert len({ranking, dataclasses.replace(ranking), dataclasses.replace(ranking, region='right')}) == 2


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(format='mmposenc.ranking/2'), "with format 'mmposenc.ranking/1'"),
        (dict(order=[2, 1, 2, 0]), 'channel 2 is repeated at rank 2'),
        (dict(order=[2, 1, 4, 0]), 'each channel from 0 to 3 once, got 4 at rank 2'),
        (dict(order=[0, 1, 2, 3]), 'order must put high scores first, but channel 1 at rank 1'),
        (dict(order=[2, 1, 3]), 'order must be a list of num_channels = 4 numbers'),
        (dict(order=None), 'order must be a list'),
        (dict(order=[]), 'order must be a list of num_channels'),
        (dict(scores=[1.0, 2.0]), 'scores must be a list of num_channels = 4'),
        (dict(scores=[0.0, float('nan'), 0.0, 0.0]), 'scores must be finite numbers, got nan for channel 1'),
        (dict(num_channels=2048), 'num_channels = 2048'),
        (dict(num_channels=4.0), 'num_channels must be an integer, got 4.0'),
        (dict(scores=..., layer=...), r"lacks \['layer', 'scores'\]"),
        (dict(colour='red'), r"has too much: \['colour'\]"),
        (dict(statistic='variance'), "statistic must be one of abs, .*, random, rank, got 'variance'"),
        (dict(pair='flip'), "pair must be one of flip_image, .* got 'flip' with statistic 'signed'"),
        (dict(pair='none'), "got 'none' with statistic 'signed'"),
        (dict(num_images=0), 'num_images must be an integer of at least 1, got 0'),
        (dict(num_images=True), 'num_images must be an integer'),
        (dict(region=''), 'region must have a name'),
        (dict(layer='a[b]'), 'layer must be a dotted module path'),
        (dict(layer=3), 'layer must be text, got 3'),
        (dict(versions={'torch': 2}), 'versions must map names to text'),
    ],
)
def test_inconsistent_files(ranking, tmp_path, changes, message):
    path = rewritten(ranking, tmp_path / 'ranking.json', **changes)
    with pytest.raises(ValueError, match=rf'ranking.json is not a whole ranking file: .*{message}'):
        Ranking.load(path)


def test_missing_file(tmp_path):
    for path in (tmp_path / 'ranking.json', tmp_path):
        with pytest.raises(FileNotFoundError, match='there is no ranking file at'):
            Ranking.load(path)


@pytest.mark.parametrize('content', [b'', b'\x80\x02}q\x00.', b'[' * 100_000, b'{"order": [1, 2', b'9' * 5000])
def test_what_is_no_json(tmp_path, content):
    path = tmp_path / 'ranking.json'
    path.write_bytes(content)
    for load in (Ranking.load, lambda path: Ranking.from_permutenet(path, 'backbone[-1]')):
        with pytest.raises(ValueError, match=r'ranking.json is not JSON, or is cut short: .*Make the ranking again'):
            load(path)


def test_released_lists(tmp_path):
    path = tmp_path / 'list.json'
    path.write_text('{"left": [2, 0, 3, 1]}')
    ranking = Ranking.from_permutenet(path, 'backbone[-1]')
    assert ranking.order == (2, 0, 3, 1)
    assert ranking.scores == (3.0, 1.0, 4.0, 2.0)
    assert (ranking.region, ranking.statistic, ranking.pair, ranking.num_images) == ('left', 'rank', 'none', 0)
    assert Ranking.from_permutenet(path, 'backbone[-1]', region='right').region == 'right'
    ranking.save(tmp_path / 'ranking.json')
    assert Ranking.load(tmp_path / 'ranking.json') == ranking
    with pytest.raises(
        ValueError, match=r'list.json is not a whole ranking file.*from_permutenet reads released lists'
    ):
        Ranking.load(path)


@pytest.mark.parametrize(
    'text, message',
    [
        ('[2, 0, 1]', 'a JSON object with one key'),
        ('{"left": [0], "right": [0]}', 'a JSON object with one key'),
        ('{"left": [0, 2, 2]}', 'left must hold each channel once, but channel 2 is repeated'),
        ('{"left": [1, 2, 3]}', 'left must hold each channel from 0 to 2 once, got 3 at rank 2'),
        ('{"left": 3}', 'left must be a list of channels, got 3'),
        ('{"": [0, 1]}', 'region must have a name'),
    ],
)
def test_broken_released_lists(tmp_path, text, message):
    path = tmp_path / 'list.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Ranking.from_permutenet(path, 'backbone[-1]')


def test_check_model():
    model = nn.ModuleDict({'backbone': nn.Linear(2, 4)})
    ranking = Ranking(**CONDITIONS, scores=[0.0] * 4, model='net', model_sha256=model_fingerprint(model))
    ranking.check_model(model)
    model['backbone'].bias.data.add_(1)
    with pytest.raises(
        ValueError, match=r'made from other weights: net has the fingerprint [0-9a-f]{12}, the model given'
    ):
        ranking.check_model(model)
    ranking.check_model(model, allow_other_weights=True)
    dataclasses.replace(ranking, model_sha256='').check_model(model)
    with pytest.raises(ValueError, match="'backbone' does not exist"):
        dataclasses.replace(ranking, layer='backbone').check_model(nn.ModuleDict({'head': nn.ReLU()}), True)
