from collections import namedtuple

import pytest
import torch
from torch import Tensor, nn

from mmposenc.channels.nested_sweep import nested_sweep, replayed


class Net(nn.Module):
    """A backbone of four equal channels, and a head that writes over its input."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(1, 4, 1, bias=False)
        nn.init.ones_(self.backbone.weight)
        self.unused = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images).mul_(torch.tensor([1.0, 10, 100, 1000])[:, None, None]).sum((1, 2, 3))


@torch.no_grad()
def test_slices_of_an_order_by_hand() -> None:
    model, images = Net(), torch.ones(1, 1, 1, 1)
    slices = [(0, 0), (0, 1), (0, 3), (2, 4), (0, 2)]
    outputs = [float(output) for output in nested_sweep(model, 'backbone', [3, 0, 2, 1], slices, lambda: model(images))]
    assert outputs == [1111, 111, 10, 1001, 110]


@torch.no_grad()
def test_a_replayed_module_runs_once_and_its_output_is_safe() -> None:
    model, images = Net(), torch.ones(1, 1, 1, 1)
    runs = []
    convolve = model.backbone._conv_forward
    model.backbone._conv_forward = lambda *args: runs.append(1) or convolve(*args)
    with replayed(model.backbone):
        outputs = list(nested_sweep(model, 'backbone', [3, 0, 2, 1], [(0, 1), (0, 0), (0, 3)], lambda: model(images)))
        assert len(runs) == 1
    assert [float(output) for output in outputs] == [111, 1111, 10]
    assert float(model(images)) == 1111
    assert len(runs) == 2
    assert 'forward' not in model.backbone.__dict__


def test_an_exception_leaves_nothing_behind() -> None:
    model = Net()
    own = model.backbone.forward
    model.backbone.forward = own  # Set by someone else: it is theirs again afterwards.
    with pytest.raises(ZeroDivisionError), replayed(model.backbone):
        list(nested_sweep(model, 'backbone', range(4), [(0, 1)], lambda: 1 / 0))
    assert model.backbone.__dict__['forward'] == own
    assert not model.backbone._forward_hooks


def test_containers_are_replayed_as_they_are() -> None:
    pair = namedtuple('pair', 'a b')

    class Many(nn.Module):
        def forward(self, images: Tensor) -> tuple:
            return (images + 1, [images], {'x': images}, pair(images, 2))

    module, images = Many(), torch.zeros(2)
    with replayed(module):
        for _ in range(2):
            first, (second,), third, fourth = module(images)
            assert first.tolist() == [1, 1]
            assert second.tolist() == third['x'].tolist() == fourth.a.tolist() == [0, 0]
            assert fourth.b == 2
            for tensor in (first, second, third['x'], fourth.a):
                tensor.add_(5)


def test_a_layer_that_does_not_run_and_another_width_are_refused() -> None:
    model, images = Net(), torch.ones(1, 1, 1, 1)
    with pytest.raises(ValueError, match="does not pass through layer 'unused'"):
        list(nested_sweep(model, 'unused', range(4), [(0, 1)], lambda: model(images)))
    with pytest.raises(ValueError, match='has 4 channels, but the channels were chosen among 5'):
        list(nested_sweep(model, 'backbone', range(5), [(0, 1)], lambda: model(images)))
