"""Rankings and their files: exact, compatible with 0.1.0, and refused in one line where they are not complete."""

import copy
import dataclasses
import hashlib
import json
import os
import struct

import numpy as np
import pytest
import torch
from torch import nn

from mmposenc.ranking import Ranking, file_sha256, model_fingerprint

CONDITIONS = dict(layer='backbone[-1]', statistic='signed', pair='flip_image', num_images=7)


@pytest.fixture
def ranking() -> Ranking:
    about = dict(model='deeplabv3_r50', model_sha256='ab' * 32, checkpoint_sha256='cd' * 32, data_set='Cityscapes val')
    versions = {'torch': '2.4.0', 'mmseg': '1.2.2'}
    scores = [-0.5, 1 / 3, 2.0, 1e-300]
    return Ranking(**CONDITIONS, scores=scores, region='left', reliability=0.75, **about, versions=versions)


def test_order_is_by_score_and_equal_scores_keep_channel_order():
    assert Ranking(**CONDITIONS, scores=[1, 3, 2, 3, -1]).order == (1, 3, 2, 0, 4)
    assert Ranking(**CONDITIONS, scores=[1, 3, 2, 3, -1], order=[3, 1, 2, 0, 4]).order == (3, 1, 2, 0, 4)
    scores = np.float32([1, 3])
    given = Ranking(**{**CONDITIONS, 'num_images': np.int64(7)}, scores=scores, order=np.array([1, 0]))
    assert (given.scores, given.order, given.num_images) == ((1.0, 3.0), (1, 0), 7)
    assert all(type(channel) is int for channel in given.order)


def test_json_round_trip_is_exact(ranking, tmp_path):
    path = ranking.save(tmp_path / 'new folder' / 'ranking.json')
    assert Ranking.load(path) == ranking
    assert len({ranking, Ranking.load(path), dataclasses.replace(ranking, region='right')}) == 2  # can be a key
    assert json.loads(path.read_text())['format'] == 'mmposenc.ranking/1'
    assert os.listdir(path.parent) == ['ranking.json']
    for missing in (tmp_path / 'ranking.json', tmp_path):
        with pytest.raises(FileNotFoundError, match=r'there is no ranking file at .*: make one with mmposenc rank'):
            Ranking.load(missing)


def test_files_of_version_0_1_0_load(ranking, tmp_path):
    path = tmp_path / 'ranking.json'
    path.write_text(
        '{"format": "mmposenc.ranking/1", "num_channels": 3, "layer": "backbone[-1]", "statistic": "random", '
        '"pair": "none", "scores": [1.0, 3.0, 2.0], "num_images": 0, "region": "overall", "order": [1, 2, 0], '
        '"model": "", "model_sha256": "", "checkpoint_sha256": "", "data_set": "seed 5", "versions": {"torch": "2.4"}}'
    )
    old = Ranking.load(path)
    assert (old.statistic, old.order, old.reliability) == ('random', (1, 2, 0), None)


def test_a_failed_save_leaves_the_old_file_and_no_other(ranking, tmp_path, monkeypatch):
    path = ranking.save(tmp_path / 'ranking.json')
    monkeypatch.setattr(os, 'replace', lambda source, target: (_ for _ in ()).throw(OSError('no space left')))
    with pytest.raises(OSError, match='no space left'):
        dataclasses.replace(ranking, region='right').save(path)
    assert os.listdir(tmp_path) == ['ranking.json']
    assert Ranking.load(path).region == 'left'


def test_table_and_plot(ranking):
    assert ranking.table()[:2] == [dict(rank=0, channel=2, score=2.0), dict(rank=1, channel=1, score=1 / 3)]
    assert '<td>2</td>' in ranking._repr_html_()
    (axes,) = ranking.plot().axes
    assert not axes.spines['top'].get_visible(), 'in the style of all figures'
    (line,) = axes.lines
    assert line.get_ydata().tolist() == [2.0, 1 / 3, 1e-300, -0.5]


@pytest.mark.parametrize('content, message', [
    (b'\x80\x02}q\x00.', 'is not JSON, or is cut short'),
    (b'{"format": "mmposenc.ranking/1"', 'is not JSON, or is cut short'),
    (b'[' * 100_000, 'is not JSON, or is cut short'),
    (b'[1]', "must have the format 'mmposenc.ranking/1', got None"),
    (dict(format='mmposenc.ranking/2'), "must have the format 'mmposenc.ranking/1', got 'mmposenc.ranking/2'"),
    (dict(order=[2, 1, 2, 0]), r'order must be a list that holds each channel .* once, got \(2, 1, 2, 0\)'),
    (dict(order=[2, 1, 0]), r'each channel from 0 to 3 once, got \(2, 1, 0\)'),
    (dict(order='0123'), "order must be a list that holds .*, got '0123'"),
    (dict(scores=[0.0, float('nan'), 0.0, 0.0]), r'scores must be a list of C finite numbers, got \(0.0, nan, 0.0'),
    (dict(scores=[0.0, 10**400, 0.0, 0.0]), r'finite numbers, got \(0.0, 100000'),
    (dict(scores=[]), r'scores must be a list of C finite numbers, got \(\)'),
    (dict(scores=3), 'scores must be a list of C finite numbers, got 3'),
    (dict(scores=...), "is not a complete file of .*'scores'"),
    (dict(colour='red'), "is not a complete file of .*'colour'"),
    (dict(pair='flip'), "pair must be one of flip_image, .* got 'flip'"),
    (dict(statistic=''), "statistic and region must have names, got '' and 'left'"),
    (dict(layer='a[b]'), 'layer must be a dotted module path'),
    (dict(num_images=1.5), 'cannot be interpreted as an integer'),
])  # fmt: skip
def test_broken_files(ranking, tmp_path, content, message):
    path = ranking.save(tmp_path / 'ranking.json')
    if isinstance(content, dict):
        document = {**json.loads(path.read_text()), **content}
        content = json.dumps({name: value for name, value in document.items() if value is not ...}).encode()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'ranking\.json .*{message}'):
        Ranking.load(path)


def test_released_lists(tmp_path):
    path = tmp_path / 'list.json'
    path.write_text('{"left": [2, 0, 3, 1]}')
    ranking = Ranking.from_permutenet(path, 'backbone[-1]')
    assert ranking.order == (2, 0, 3, 1)
    assert ranking.scores == (3.0, 1.0, 4.0, 2.0)
    assert (ranking.region, ranking.statistic, ranking.pair, ranking.num_images) == ('left', 'rank', 'none', 0)
    assert Ranking.from_permutenet(path, 'backbone[-1]', region='right').region == 'right'
    assert Ranking.load(ranking.save(tmp_path / 'ranking.json')) == ranking
    for text in ('[0]', '{"left": [0], "right": [0]}', '{"left": [0, 2, 2]}', '{"left": 3}', '{"left"'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r'list\.json is not a list of the released code, a JSON object such as'):
            Ranking.from_permutenet(path, 'backbone[-1]')


def test_check_model():
    model = nn.ModuleDict({'backbone': nn.Linear(2, 4)})
    ranking = Ranking(**CONDITIONS, scores=[0.0] * 4, model='net', model_sha256=model_fingerprint(model))
    ranking.check_model(model)
    model['backbone'].bias.data.add_(1)
    with pytest.raises(ValueError, match=r'made from other weights: net has the fingerprint [0-9a-f]{12}, the model'):
        ranking.check_model(model)
    ranking.check_model(model, allow_other_weights=True)
    dataclasses.replace(ranking, model_sha256='').check_model(model)
    with pytest.raises(ValueError, match="'backbone' does not exist"):
        dataclasses.replace(ranking, layer='backbone').check_model(nn.ModuleDict({'head': nn.ReLU()}), True)


def test_model_fingerprint_by_hand():
    linear = nn.Linear(2, 1)
    linear.weight.data, linear.bias.data = torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])
    expected = hashlib.sha256(
        b'bias torch.float32 (1,)\n' + struct.pack('f', 3) + b'weight torch.float32 (1, 2)\n' + struct.pack('2f', 1, 2)
    )
    assert model_fingerprint(linear) == expected.hexdigest()


def test_model_fingerprint_sees_every_change_and_only_changes():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Embedding(2, 4))
    net.register_buffer('empty', torch.zeros(0))
    same = copy.deepcopy(net).to(memory_format=torch.channels_last).eval()
    same[0] = torch.compile(same[0], backend='eager')
    assert model_fingerprint(torch.compile(same, backend='eager')) == model_fingerprint(net)
    prints = {model_fingerprint(net), model_fingerprint(nn.Sequential(nn.Identity(), *net))}
    for change in (
        lambda: net[0].weight.data[3, 2, 1, 0].add_(1e-6),
        lambda: net[1].running_mean.add_(1),
        lambda: net[1].num_batches_tracked.add_(1),
        lambda: net.to(torch.bfloat16),
    ):
        change()
        prints.add(model_fingerprint(net))
    assert len(prints) == 6


def test_file_sha256(tmp_path):
    path = tmp_path / 'checkpoint.pth'
    path.write_bytes(b'abc' * 1_000_000)
    assert file_sha256(path) == hashlib.sha256(b'abc' * 1_000_000).hexdigest()
