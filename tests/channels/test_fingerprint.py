"""Tests of mmposenc.ranking."""

import copy
import hashlib
import struct

import pytest
import torch
from torch import nn

from mmposenc.ranking import file_sha256, model_fingerprint


def test_model_fingerprint_by_hand():
    linear = nn.Linear(2, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 2.0]]))
        linear.bias.fill_(3)
    expected = hashlib.sha256(
        b'bias torch.float32 (1,)\n' + struct.pack('f', 3) + b'weight torch.float32 (1, 2)\n' + struct.pack('2f', 1, 2)
    )
    assert model_fingerprint(linear) == expected.hexdigest()


def test_model_fingerprint_sees_every_change_and_only_changes():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Embedding(2, 4))
    net.register_buffer('empty', torch.zeros(0))
    same = copy.deepcopy(net).to(memory_format=torch.channels_last).eval()
    assert model_fingerprint(same) == model_fingerprint(net)
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
    with pytest.raises(FileNotFoundError, match=r'no file at .*missing\.pth'):
        file_sha256(tmp_path / 'missing.pth')
