"""Channels that are ablated during validation and testing."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from operator import index
from typing import Any
from weakref import WeakSet

import torch
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from mmposenc.channels import ablate_channels, random_channels, top_channels
from mmposenc.channels import window as ranks
from mmposenc.channels.ablation import check_channels
from mmposenc.layers import find_module, pooled_features, split_layer, unwrap_model
from mmposenc.mm.forwards import first_window, require_whole_images, tensor_forward
from mmposenc.ranking import Ranking
from mmposenc.registry import HOOKS


@HOOKS.register_module()
class ChannelAblationHook(Hook):
    """Ablates channels of a layer in every validation and test (Sec. 4.2.2).

    Training is untouched. The log says what is ablated. A config may have several of these hooks. What to ablate is one
    of: `channels`; `ranking` with `num_channels` or with `window`; `random`.

    Args:
        layer: Dotted module path, with [i] behind it where the module gives a tuple. Default: the ranking's. It may be
            another one with the same channels, such as the pooling branch behind the end of the backbone.
        ranking: File that `mmposenc rank` wrote.
        num_channels: N, the top of the ranking (Fig. 4 top).
        window: (start, size), the ranks start to start + size - 1 (Fig. 4 bottom).
        random: (N, seed), N channels drawn at random, the control. Draws of one seed are nested.
        value: What the channels give instead: a number, 0 in the paper, or 'mean', the data set's means.
        means: For 'mean', the file of a ranking with statistic 'mean_activation' of the same channels.
        allow_other_weights: Accept a ranking or means of other weights, e.g. in the validations of a training.
        allow_slide: Accept a model that is tested by sliding windows.
        channel_dim: Dimension of the channels; None to establish it (see `mmposenc.layers.layer_hook`).
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
        channel_dim: int | None = None,
    ) -> None:
        given = dict(channels=channels, num_channels=num_channels, window=window, random=random)
        chosen = [name for name, choice in given.items() if choice is not None]
        if len(chosen) != 1 or (ranking is None) == (chosen[0] in ('num_channels', 'window')):
            got = ' and '.join(chosen + ['ranking'] * (ranking is not None)) or 'none of them'
            choices = 'channels; random=(N, seed); ranking with num_channels=N; ranking with window=(start, size)'
            raise ValueError(f'give one of: {choices}. Got {got}')
        self.ranking = None if ranking is None else Ranking.load(ranking)
        if layer is None and self.ranking is None:
            raise ValueError("layer must be given where no ranking names it, e.g. layer='backbone[-1]'")
        self.layer: str = layer if layer is not None else getattr(self.ranking, 'layer', '')
        split_layer(self.layer)
        self._channels, self._text = check_channels(() if channels is None else channels), 'as listed'
        self.random = None
        if random is not None:
            self.random = _two_integers('random', random)
            self._text = f'at random, seed {self.random[1]}'
        elif self.ranking is not None and num_channels is not None:
            self._channels, self._text = top_channels(self.ranking, num_channels), f'the top of {ranking}'
        elif self.ranking is not None and window is not None:
            start, size = _two_integers('window', window)
            self._channels = ranks(self.ranking, start, size)
            self._text = f'ranks {start} to {start + size - 1} of {ranking}'
        if (value == 'mean') != (means is not None) or (isinstance(value, str) and value != 'mean'):
            raise ValueError(f"value must be a number, or 'mean' with means=FILE; got {value!r} with means={means!r}")
        self.means = None if means is None else Ranking.load(means)
        if self.means is not None and (got := self.means.statistic) != 'mean_activation':
            raise ValueError(f"means must be a ranking by 'mean_activation', {means} is one by {got!r}")
        self.value: float | Tensor = float(value) if self.means is None else torch.tensor(self.means.scores)
        self.allow_other_weights, self.allow_slide, self.channel_dim = allow_other_weights, allow_slide, channel_dim
        self._active, self._begun = ExitStack(), False
        self._guarded: WeakSet[BaseLoop] = WeakSet()

    def before_run(self, runner: Runner) -> None:
        """See to it that the ablation ends with the loop, though no hook is called after an exception."""
        for loop in (runner._val_loop, runner._test_loop):
            if isinstance(loop, BaseLoop) and loop not in self._guarded:
                loop.run = partial(self._run_and_end, loop.run)
                self._guarded.add(loop)

    def _run_and_end(self, run: Callable[[], Any]) -> Any:
        with self._active:
            return run()

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._begun = False
            find_module(runner.model, self.layer)
            require_whole_images(runner.model, self.allow_slide)

    def _before_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, mode: str = 'train') -> None:
        if mode == 'train' or self._begun:
            return
        model, self._begun = unwrap_model(runner.model), True
        for ranking in filter(None, (self.ranking, self.means)):
            ranking.check_model(model, self.allow_other_weights)
        channels, total = self._channels, self._width(model, data_batch)
        if self.ranking is not None:
            total = self.ranking.num_channels
        elif self.random is not None:
            if total is None:
                raise ValueError(f'C of layer {self.layer!r} is not known, from which channels are drawn: list them')
            channels = random_channels(total, *self.random)
        options = (self.value, total, self.channel_dim, self.allow_slide)
        self._active.enter_context(ablate_channels(model, self.layer, channels, *options))
        given = f'{self.value:g}' if isinstance(self.value, float) else 'its mean'
        listed = ', '.join(map(str, channels[:20])) + (', ...' if len(channels) > 20 else '')
        number = f'{len(channels)} of {total}' if total else len(channels)
        text = f'{number} channels of {self.layer}, {self._text} (each gives {given}): {listed or "none"}'
        runner.logger.info(f'ChannelAblationHook: ablated {text}')

    def _width(self, model: Any, batch: Any) -> int | None:
        """C of the layer, from one image; this also establishes the layout, by another image size if it must."""
        first = batch['inputs'][0]
        if isinstance(first, (list, tuple)) or first.ndim == 4:  # test-time augmentation: the first view
            batch = {name: value[0] for name, value in batch.items()}
        image = first_window(model, batch['inputs'][0][None]).float()
        try:
            return pooled_features(model, self.layer, image, tensor_forward(model, batch), self.channel_dim).shape[1]
        except Exception:  # the model's own forward shows what is wrong, and may pass where this one does not
            return None


def _two_integers(name: str, pair: Sequence[int]) -> tuple[int, int]:
    try:
        first, second = (index(number) for number in pair)
    except (TypeError, ValueError):
        raise TypeError(f'{name} must be two integers, got {pair!r}') from None
    return first, second
