"""torch.compile for the part of a model that costs the time."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmposenc.registry import HOOKS


@HOOKS.register_module()
class CompileBackboneHook(Hook):
    """Compiles the backbone's training forward and backward (ours).

    mmengine's `compile = True` compiles the whole training step, with graph breaks at the host's Python code. The
    backbone is tensors in, tensors out: one graph. Outside training the eager code runs, so forward hooks on inner
    layers fire and an uneven last batch compiles nothing. The state dict does not change. Use `drop_last=True` in the
    training loader, since another batch size compiles again.

    Args:
        options: Keyword arguments of `torch.compile`, such as `dict(mode='reduce-overhead')`. Default none.
        on_cpu: Compile on a CPU too, where it takes minutes to begin. Default False: the model stays eager there.
    """

    def __init__(self, options: dict[str, Any] | None = None, on_cpu: bool = False) -> None:
        self.options = options or {}
        self.on_cpu = on_cpu
        self._backbone: nn.Module | None = None

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = model.backbone
        if next(backbone.parameters()).device.type == 'cpu' and not self.on_cpu:
            return
        self._eager: Callable[..., Any] = backbone.forward
        compiled = torch.compile(self._eager, **self.options)

        def forward(*args: Any) -> Any:
            return (compiled if backbone.training else self._eager)(*args)

        backbone.forward = forward
        self._backbone = backbone

    def after_train(self, runner: Runner) -> None:
        if self._backbone is not None:
            del self._backbone.forward
            self._backbone = None
