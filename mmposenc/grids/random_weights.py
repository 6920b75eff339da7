"""Random weights with calibrated batch normalisation: what architecture and padding give without training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmposenc.layers import unwrap_model


@contextmanager
def random_weights(model: nn.Module, seed: int, build: Callable[[int], nn.Module] | None = None) -> Iterator[None]:
    """Give a network random weights while the block runs; its own come back afterwards.

    Args:
        build: Returns a new network of the same architecture for a seed, whose weights are taken. None calls
            `reset_parameters` of every module that has parameters, and fills normalisation weights and biases as it
            does.

    Raises:
        ValueError: If a module has parameters but no `reset_parameters`, or statistics that are frozen.
    """
    network = unwrap_model(model)
    frozen = [name for name, module in network.named_modules() if 'FrozenBatchNorm' in type(module).__name__]
    if frozen:
        raise ValueError(
            f'random weights need batch normalisation that can be calibrated, but {frozen[0]!r} is frozen: build the '
            f'network with torch.nn.BatchNorm2d'
        )
    before = {name: value.detach().clone() for name, value in network.state_dict().items()}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if build is None:
                _reset(network)
            else:
                network.load_state_dict(unwrap_model(build(seed)).state_dict())
        yield
    finally:
        network.load_state_dict(before)


def _reset(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        reset = getattr(module, 'reset_parameters', None)
        if reset is None:
            raise ValueError(
                f'{name or "the model"!r} ({type(module).__name__}) has parameters but no reset_parameters: pass '
                f'build=, a function from a seed to a new network of the same architecture'
            )
        reset()


def calibrate_batch_norm(model: nn.Module, run: Callable[[], object]) -> None:
    """Set the running statistics of all batch normalisations to the averages over the forwards that `run` makes.

    Everything else stays in evaluation mode. Nothing is run for a network without batch normalisation.
    """
    layers = [
        module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not layers:
        return
    momenta = [module.momentum for module in layers]
    try:
        for module in layers:
            module.reset_running_stats()
            module.momentum = None
            module.train()
        run()
    finally:
        for module, momentum in zip(layers, momenta, strict=True):
            module.momentum = momentum
            module.eval()
