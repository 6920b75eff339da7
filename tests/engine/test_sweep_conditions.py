import hashlib
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from mmposenc.channels.channel_choice import random_ranking
from mmposenc.channels.sweep import SweepPlan
from mmposenc.mm.sweep.conditions import load_rankings, sweep_conditions
from mmposenc.mm.sweep.levels import SweepLevel
from mmposenc.ranking import file_sha256, model_fingerprint


def test_conditions_name_the_network_the_data_and_every_variant(tmp_path) -> None:
    checkpoint = tmp_path / 'net.pth'
    checkpoint.write_bytes(b'weights')
    model = torch.nn.Linear(2, 2)
    runner = SimpleNamespace(model=model, model_name='Net', _load_from=str(checkpoint))
    plan = SweepPlan({'one': random_ranking(3, 0, 'x')}, ['x'], [0, 2], num_random=1)
    loader = DataLoader(TensorDataset(torch.zeros(5)), batch_size=2)
    found = sweep_conditions(runner, plan, {'x': SweepLevel(2, '')}, loader)
    order = ','.join(map(str, plan.rankings['one'].order))
    assert found['model_sha256'] == model_fingerprint(model)
    assert found['checkpoint_sha256'] == file_sha256(checkpoint)
    assert (found['num_images'], found['batch_size'], found['data_set']) == (5, 2, 'TensorDataset')
    assert found['levels'] == {'x': 2}
    assert found['rankings']['one']['order_sha256'] == hashlib.sha256(order.encode()).hexdigest()
    assert found['variant_fields'] == ['layer', 'ranking', 'draw', 'kind', 'start', 'stop', 'run']
    assert found['variants'] == [
        ['x', 'one', None, 'top', 0, 0, 0],
        ['x', 'one', None, 'top', 0, 2, 1],
        ['x', 'random', 0, 'top', 0, 0, 0],
        ['x', 'random', 0, 'top', 0, 2, 2],
    ]
    with torch.no_grad():
        model.weight.add_(1)
    assert sweep_conditions(runner, plan, {}, loader)['model_sha256'] != found['model_sha256']


def test_rankings_are_called_by_their_files_or_keys(tmp_path) -> None:
    files = [tmp_path / 'a.json', tmp_path / 'b' / 'c.json', tmp_path / 'd' / 'c.json']
    for seed, file in enumerate(files):
        random_ranking(4, seed, 'x').save(file)
    assert list(load_rankings([str(file) for file in files[:2]])) == ['a', 'c']
    named = load_rankings({'first': str(files[1]), 'second': str(files[2])})
    assert named['second'].order == random_ranking(4, 2, 'x').order
    with pytest.raises(ValueError, match='called by the names of their files, which must differ'):
        load_rankings([str(file) for file in files])
    with pytest.raises(TypeError, match=r"must be a list of files, got the str 'a\.json'"):
        load_rankings('a.json')
    with pytest.raises(FileNotFoundError, match='there is no ranking file'):
        load_rankings(['nothing.json'])
