"""Channels switched off during validation and testing."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import wraps
from typing import Any
from weakref import WeakSet

import torch
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from mmposenc.channels.ablation import Ablation, ablate_channels
from mmposenc.layers import find_module, pooled_features
from mmposenc.mm.hookable_model import eager_forwards, inner_model, require_whole_images
from mmposenc.mm.hooks.ablated_channels import AblatedChannels
from mmposenc.ranking import Ranking
from mmposenc.registry import HOOKS


@HOOKS.register_module()
class ChannelAblationHook(Hook):
    """Switches channels of a layer off in every validation and test (Sec. 4.2.2).

    Training is untouched. The log says what is switched off. The channels are back when the loop ends, also by an
    exception; the weights are never written to. Modules that were compiled run eagerly meanwhile. Several of these
    hooks may stand in one config.

    What to switch off is one of: `channels`; `ranking` with `num_channels` or with `window`; `random`.

    Args:
        layer: Dotted module path, with [i] behind it where the module gives a tuple. Default: the ranking's. It may be
            another one with the same channels, such as the pooling branch behind the end of the backbone.
        channels: The channels themselves.
        ranking: File that `tools/rank_channels.py` wrote.
        num_channels: N, the best of the ranking (Fig. 4 top).
        window: (start, size), the ranks start to start + size - 1 (Fig. 4 bottom).
        random: (N, seed), N channels drawn at random, the control. Draws of one seed are nested.
        value: What the channels give instead: a number, 0 in the paper, or 'mean' (ours), the data set's means.
        means: For 'mean', the file of a ranking with statistic 'mean_activation' of the same channels.
        allow_other_weights: Take a ranking of other weights, e.g. in the validations of a training.
        allow_slide: Take a model that is tested by sliding windows.

    Raises:
        TypeError, ValueError: If an argument is not one of those above; in the run, if the layer does not exist or does
            not run, or the ranking is of another model or another number of channels.

    Example:
        >>> custom_hooks = [dict(type='mmposenc.ChannelAblationHook', ranking='ranking.json', num_channels=100)]
    """

    priority = 'LOW'  # After EMAHook, which exchanges the weights.

    def __init__(
        self,
        layer: str | None = None,
        channels: Sequence[int] | None = None,
        ranking: str | None = None,
        num_channels: int | None = None,
        window: Sequence[int] | None = None,
        random: Sequence[int] | None = None,
        value: float | str = 0.0,
        means: str | None = None,
        allow_other_weights: bool = False,
        allow_slide: bool = False,
    ) -> None:
        self.chosen = AblatedChannels(layer, channels, ranking, num_channels, window, random)
        self.value = _fill(value, means)
        self.allow_other_weights, self.allow_slide = allow_other_weights, allow_slide
        self._active = ExitStack()
        self._done: Ablation | None = None
        self._guarded: WeakSet[BaseLoop] = WeakSet()

    def before_run(self, runner: Runner) -> None:
        """See to it that the ablation ends with the loop, though no hook is called after an exception."""
        for loop in (runner._val_loop, runner._test_loop):
            if isinstance(loop, BaseLoop) and loop not in self._guarded:
                loop.run = self._ending(loop.run)
                self._guarded.add(loop)

    def _ending(self, run: Callable[[], Any]) -> Callable[[], Any]:
        @wraps(run)
        def run_and_end() -> Any:
            try:
                return run()
            finally:
                self._end()

        return run_and_end

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._end()
            find_module(inner_model(runner.model), self.chosen.layer)
            require_whole_images(runner.model, self.allow_slide)

    def _before_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, mode: str = 'train') -> None:
        if mode != 'train' and self._done is None:
            self._begin(runner, data_batch)

    def _after_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = 'train'
    ) -> None:
        if mode != 'train' and self._done is not None and not self._done.calls:
            raise ValueError(
                f'layer {self.chosen.layer!r} exists but did not run, so nothing was switched off: name a layer that '
                f'the forward passes through'
            )

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._end()

    def _begin(self, runner: Runner, data_batch: Any) -> None:
        model, chosen = inner_model(runner.model), self.chosen
        if chosen.ranking is not None:
            chosen.ranking.check_model(model, self.allow_other_weights)
        self._active.enter_context(eager_forwards())
        total = self._width(runner, data_batch) if chosen.at_random else chosen.num_total
        channels = chosen.pick(total or 0)
        ablation = ablate_channels(model, chosen.layer, channels, self.value, total)
        self._done = self._active.enter_context(ablation)
        value = 'its mean' if isinstance(self.value, Tensor) else f'{self.value:g}'
        listed = ', '.join(map(str, channels[:20])) + (', ...' if len(channels) > 20 else '')
        runner.logger.info(
            f'ChannelAblationHook: switched off {len(channels)}{f" of {total}" if total else ""} channels of '
            f'{chosen.layer}, {chosen} (each gives {value}): {listed or "none"}'
        )

    def _end(self) -> None:
        self._done = None
        self._active.close()

    def _width(self, runner: Runner, data_batch: Any) -> int:
        """C of the layer, from a forward that ends there; the model's own step knows how to take the batch."""

        def forward(_: Tensor) -> object:
            return runner.model.test_step(data_batch)

        return pooled_features(inner_model(runner.model), self.chosen.layer, torch.empty(0), forward).shape[1]


def _fill(value: float | str, means: str | None) -> float | Tensor:
    """What channels give instead, as `ablate_channels` takes it."""
    if (value == 'mean') != (means is not None) or (isinstance(value, str) and value != 'mean'):
        raise ValueError(f"value must be a number, or 'mean' with means=FILE; got {value!r} with means={means!r}")
    if means is None:
        return float(value)
    ranking = Ranking.load(means)
    if ranking.statistic != 'mean_activation':
        raise ValueError(f"means must be a ranking by 'mean_activation', {means} is one by {ranking.statistic!r}")
    return torch.tensor(ranking.scores)
