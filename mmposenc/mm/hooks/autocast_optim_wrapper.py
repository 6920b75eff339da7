"""Mixed precision on any device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmposenc.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """An `OptimWrapper` whose forward runs in bfloat16 autocast (ours).

    bfloat16 has float32's range, so there is no loss scale and nothing waits for its check; mmengine's
    `AmpOptimWrapper` keeps one for every type, and refuses a CPU.

    Args:
        optimizer: The optimizer.
        accumulative_counts: As in `OptimWrapper`. Default 1.
        clip_grad: As in `OptimWrapper`. Default None.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, accumulative_counts: int = 1, clip_grad: dict | None = None
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device_type = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type, torch.bfloat16):
            yield
