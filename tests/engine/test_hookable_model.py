"""The network inside wrappers, forwards in which hooks fire, and the refusal of sliding windows."""

from contextlib import suppress

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseTTAModel, MMDistributedDataParallel
from torch import nn

from mmposenc.mm.hookable_model import eager_forwards, inner_model, require_whole_images


class Averaging(BaseTTAModel):
    def merge_preds(self, data_samples_list: list) -> list:
        return data_samples_list


def wrapped_as_distributed(model: nn.Module) -> MMDistributedDataParallel:
    """The wrapper without the process group that its constructor asks for."""
    wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = model
    return wrapper


def test_inner_model_finds_the_network_in_any_nesting() -> None:
    network = nn.Linear(2, 2)
    assert inner_model(network) is network
    assert inner_model(torch.compile(network, backend='eager')) is network
    assert inner_model(wrapped_as_distributed(network)) is network
    assert inner_model(Averaging(module=wrapped_as_distributed(torch.compile(network, backend='eager')))) is network


class Network(nn.Module):
    """PyTorch before 2.6 does not compile its own modules, such as a `Sequential`, on their own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images).relu()


def test_hooks_of_a_module_that_was_compiled_fire_and_compilation_comes_back() -> None:
    frames = []

    def backend(graph: torch.fx.GraphModule, _: list) -> torch.fx.GraphModule:
        return lambda *inputs: frames.append('compiled') or graph(*inputs)

    network = Network()
    network.compile(backend=backend)
    images = torch.ones(1, 2)
    network(images)
    calls = []
    handle = network.layer.register_forward_hook(lambda *_: calls.append(1))
    with suppress(KeyError), eager_forwards():
        network(images)
        raise KeyError
    assert calls == [1]
    handle.remove()
    before = len(frames)
    network(images)
    assert (len(frames), calls) == (before + 1, [1])


def test_blocks_that_overlap_leave_compilation_as_it_was() -> None:
    compiled = []
    network = Network()
    network.compile(backend=lambda graph, _: lambda *inputs: compiled.append(1) or graph(*inputs))
    first, second = eager_forwards(), eager_forwards()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    calls = []
    network.layer.register_forward_hook(lambda *_: calls.append(1))
    network(torch.ones(1, 2))
    assert calls == [1]  # the second block still runs
    second.__exit__(None, None, None)
    before = len(compiled)
    network(torch.ones(1, 2))
    assert len(compiled) == before + 1


def test_only_sliding_windows_are_refused() -> None:
    model = nn.Linear(1, 1)
    require_whole_images(model)  # a classifier has no test_cfg
    model.test_cfg = ConfigDict(mode='whole')
    require_whole_images(model)
    model.test_cfg = ConfigDict(mode='slide', crop_size=(4, 4))
    with pytest.raises(ValueError, match=r"test_cfg\.mode is 'slide': .* Set model\.test_cfg=dict\(mode='whole'"):
        require_whole_images(torch.compile(model, backend='eager'))
    require_whole_images(model, allow_slide=True)
