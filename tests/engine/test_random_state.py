"""Every generator goes on from where it was, also through a file that is read without running code."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmposenc.host.checkpoints import read_checkpoint
from mmposenc.host.random_state import kept_random_state, read_random_state, set_random_state
from mmposenc.mm.models.permute_neck import PermuteNeck


def draws(model: nn.Module | None = None) -> list:
    own = model[0].generator.initial_seed() if model is not None else 0
    features = torch.arange(6.0).expand(1, 6)
    return [
        torch.rand(3).tolist(),
        torch.randn(1).item(),
        np.random.rand(3).tolist(),
        np.random.randn(),
        [random.random(), random.gauss(0, 1)],
        own,
        model(features).tolist() if model is not None else None,
    ]


@pytest.fixture(autouse=True)
def _as_before() -> None:
    with kept_random_state():
        yield


def test_all_generators_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    model = nn.Sequential(PermuteNeck(seed=5))
    draws(model)  # Leaves numpy and Python with half a pair of normal numbers.
    torch.save({'state_dict': {}, 'random_states': [read_random_state(model)]}, tmp_path / 'a.pth')
    expected = [draws(model) for _ in range(3)]
    assert expected[0] != expected[1]
    set_random_state(read_checkpoint(tmp_path / 'a.pth')['random_states'][0], model)
    assert [draws(model) for _ in range(3)] == expected


def test_generators_that_the_state_does_not_know_stay() -> None:
    state = read_random_state()
    model = nn.Sequential(PermuteNeck(seed=5))
    before = model[0].generator.get_state()
    set_random_state(state, model)
    assert torch.equal(model[0].generator.get_state(), before)


def test_a_block_leaves_no_trace_even_when_it_raises() -> None:
    state = read_random_state()
    expected = draws()
    set_random_state(state)

    def fail() -> None:
        with kept_random_state():
            draws()
            raise RuntimeError('inside')

    with pytest.raises(RuntimeError, match='inside'):
        fail()
    assert draws() == expected


@pytest.mark.gpu
def test_the_gpu_goes_on_too() -> None:
    state = read_random_state()
    expected = torch.rand(5, device='cuda').tolist()
    assert torch.rand(5, device='cuda').tolist() != expected
    # As `Runner.resume` loads it.
    set_random_state({**state, 'cuda': state['cuda'].cuda(), 'torch': state['torch'].cuda()})
    assert torch.rand(5, device='cuda').tolist() == expected
