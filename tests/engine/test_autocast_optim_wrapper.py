import pytest
import torch
from torch import nn

from mmposenc.mm.hooks.autocast_optim_wrapper import AutocastOptimWrapper


def test_forward_is_bfloat16_and_parameters_stay_float32():
    model = nn.Linear(3, 2)
    wrapper = AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    with wrapper.optim_context(model):
        out = model(torch.ones(4, 3))
    assert out.dtype == torch.bfloat16
    before = model.bias.detach().clone()
    wrapper.update_params(out.float().mean())
    assert model.bias.dtype == torch.float32
    # d mean / d bias is 1/2 for each of the two outputs
    assert torch.allclose(before - model.bias, torch.full((2,), 0.25))


def test_outside_the_context_nothing_changes():
    model = nn.Linear(3, 2)
    with AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5)).optim_context(model):
        pass
    assert model(torch.ones(1, 3)).dtype == torch.float32


def test_unknown_argument():
    with pytest.raises(TypeError, match='loss_scale'):
        AutocastOptimWrapper(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0), loss_scale='dynamic')
