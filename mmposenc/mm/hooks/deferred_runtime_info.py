"""Logging of losses without a wait in every iteration."""

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from mmposenc.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's `RuntimeInfoHook`, reading the losses from the GPU once per logging interval (ours).

    The host's hook reads every loss in every iteration, and each read waits until the GPU is idle. This one keeps the
    tensors and reads all of an interval in one transfer, just before they are logged: the log and its smoothing see the
    same numbers. In a config: `default_hooks = dict(runtime_info=dict(type='mmposenc.DeferredRuntimeInfoHook'))`.
    """

    def __init__(self) -> None:
        self._pending: list[dict[str, Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._interval = min(intervals, default=1)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if outputs is not None:
            # A clone: what a CUDA graph returns is overwritten by its next replay.
            self._pending.append({key: torch.as_tensor(value).detach().clone() for key, value in outputs.items()})
        due = self.every_n_inner_iters(batch_idx, self._interval) or self.every_n_train_iters(runner, self._interval)
        if due or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._flush(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        self._flush(runner)

    def before_val(self, runner: Runner) -> None:
        self._flush(runner)
        super().before_val(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._flush(runner)

    def _flush(self, runner: Runner) -> None:
        rows, self._pending = self._pending, []
        by_names: dict[tuple[str, ...], list[Tensor]] = {}
        for row in rows:
            by_names.setdefault(tuple(row), []).append(torch.stack([value.float().mean() for value in row.values()]))
        for names, values in by_names.items():
            for line in torch.stack(values).tolist():
                for name, value in zip(names, line, strict=True):
                    runner.message_hub.update_scalar(f'train/{name}', value)
