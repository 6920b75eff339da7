"""Other weights for a while: random ones with calibrated batch normalisation, or no learned position embeddings."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmposenc.layers import unwrap_model

_EMBEDDING = re.compile(r'(abs(olute)?_)?pos(ition(al)?)?_(emb|embed|embedding|embeddings)')


@contextmanager
def _restored(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Give tensors their old values back when the block ends, whatever it wrote into them."""
    kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(kept[name])
        torch.clear_autocast_cache()


@contextmanager
def without_position_embedding(model: nn.Module) -> Iterator[list[str]]:
    """Set learned absolute position embeddings to zero while the block runs.

    Yields the names of the tensors that were zeroed: parameters and buffers called `pos_embed`, `pos_embedding`,
    `position_embeddings` or alike, and the weights of `nn.Embedding` modules of such names. Relative biases stay.
    """
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        embedding = isinstance(module, nn.Embedding) and _EMBEDDING.fullmatch(path.rpartition('.')[2])
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if embedding or _EMBEDDING.fullmatch(name):
                found[f'{path}.{name}'.lstrip('.')] = tensor
    with _restored(found):
        for tensor in found.values():
            tensor.data.zero_()
        yield list(found)


@contextmanager
def random_weights(model: nn.Module, seed: int, build: Callable[[int], nn.Module] | None = None) -> Iterator[None]:
    """Give a network random weights while the block runs; its own come back afterwards.

    `build` returns a new network of the same architecture for a seed, whose weights are taken. None calls
    `reset_parameters` of every module that has parameters.
    """
    network = unwrap_model(model)
    frozen = [name for name, module in network.named_modules() if 'FrozenBatchNorm' in type(module).__name__]
    if frozen:
        needed = 'batch normalisation that can be calibrated'
        raise ValueError(f'random weights need {needed}, but {frozen[0]!r} is frozen: build with torch.nn.BatchNorm2d')
    with _restored(network.state_dict()):
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            if build is None:
                _reset(network)
            else:
                network.load_state_dict(unwrap_model(build(seed)).state_dict())
        torch.clear_autocast_cache()  # It keeps half precision copies of weights and does not see changes.
        yield


def _reset(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        reason = '' if hasattr(module, 'reset_parameters') else 'has parameters but no reset_parameters'
        if isinstance(vars(module).get('weight'), Tensor):  # weight norm, spectral norm, pruning
            reason = 'computes its weight from other parameters'
        if reason:
            found = f'{name or "the model"!r} ({type(module).__name__}) {reason}'
            raise ValueError(f'{found}: pass build=, a function from a seed to a new network of the same architecture')
        module.reset_parameters()


def calibrate_batch_norm(model: nn.Module, run: Callable[[], object]) -> None:
    """Set the running statistics of all batch normalisations to the averages over the forwards that `run` makes.

    Everything else stays in evaluation mode. Nothing is run for a network without batch normalisation.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]
    if not norms:
        return
    momenta = [module.momentum for module in norms]
    try:
        for module in norms:
            module.reset_running_stats()
            module.momentum = None
            module.train()
        run()
    finally:
        for module, momentum in zip(norms, momenta, strict=True):
            module.momentum = momentum
            module.eval()
