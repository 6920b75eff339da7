"""What makes training fast: a compiled backbone, losses that are logged without waiting, bfloat16 on any device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from mmengine.hooks import Hook, LoggerHook, RuntimeInfoHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmposenc.layers import unwrap_model
from mmposenc.registry import HOOKS, OPTIM_WRAPPERS


@HOOKS.register_module()
class CompileBackboneHook(Hook):
    """Compiles the backbone's training forward and backward, as one graph; the state dict does not change.

    Outside training the eager code runs, so that forward hooks on inner layers fire. Use `drop_last=True` in the
    training loader, since another batch size compiles again. `options` go to `torch.compile`. On a CPU, where it takes
    minutes to begin, the model stays eager unless `on_cpu` is set.
    """

    def __init__(self, options: dict[str, Any] | None = None, on_cpu: bool = False) -> None:
        self.options = options or {}
        self.on_cpu = on_cpu
        self._backbone: nn.Module | None = None

    def before_train(self, runner: Runner) -> None:
        backbone: Any = unwrap_model(runner.model).backbone
        if next(backbone.parameters()).device.type == 'cpu' and not self.on_cpu:
            return
        eager: Callable[..., Any] = backbone.forward
        compiled = torch.compile(eager, **self.options)
        backbone.forward = lambda *args: (compiled if backbone.training else eager)(*args)
        self._backbone = backbone

    def after_train(self, runner: Runner) -> None:
        if self._backbone is not None:
            del self._backbone.forward
            self._backbone = None


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's `RuntimeInfoHook`, reading the losses from the GPU once per logging interval.

    mmengine's waits in every iteration until the GPU is idle. The log sees the same numbers. In a config:
    `default_hooks = dict(runtime_info=dict(type='mmposenc.DeferredRuntimeInfoHook'))`.
    """

    def __init__(self) -> None:
        self._pending: list[dict[str, Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._intervals = {hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)} or {1}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if outputs is not None:
            # A clone: what a CUDA graph returns is overwritten by its next replay.
            self._pending.append({key: torch.as_tensor(value).detach().clone() for key, value in outputs.items()})
        due = (self.every_n_inner_iters(batch_idx, n) or self.every_n_train_iters(runner, n) for n in self._intervals)
        if any(due) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._flush(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        self._flush(runner)

    def before_val(self, runner: Runner) -> None:
        self._flush(runner)
        super().before_val(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._pending:
            self._flush(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()  # was copied before

    def _flush(self, runner: Runner) -> None:
        rows, self._pending = self._pending, []
        for names, some in groupby(rows, key=tuple):  # as a rule every iteration has the same losses
            values = torch.stack([torch.stack([value.float().mean() for value in row.values()]) for row in some])
            for line in values.tolist():
                for name, value in zip(names, line, strict=True):
                    runner.message_hub.update_scalar(f'train/{name}', value)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """An `OptimWrapper` whose forward runs in bfloat16 autocast, on any device.

    bfloat16 needs no loss scale; mmengine's `AmpOptimWrapper` keeps one for every type, and refuses a CPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device_type = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type, torch.bfloat16):
            yield
