"""A check that data set, head and checkpoint speak of the same classes."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmposenc.mm.loops.rank import ChannelRankingLoop
from mmposenc.registry import HOOKS


@HOOKS.register_module()
class HeadCheckHook(Hook):
    """Stops a run whose head has other classes than its data, the cells of a grid among them (Sec. 3, Table 1).

    Without it a head with too many outputs trains as if nothing were wrong, one with too few fails inside the loss, and
    mmengine loads a checkpoint of another grid without its head. The classes of a location task are the cells of the
    grid of `GridCIFAR10` and `GridDigits`; else they are the data set's. Ranking channels needs no labels, so any data
    will do there.

    Raises:
        ValueError: Before the first iteration, if the head's classes are not the data set's, or if the checkpoint is
            of another grid.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        loops = [runner.train_loop] + ([runner.val_loop] if runner.val_loop is not None else [])
        for loop in loops:
            _check(runner.model, loop.dataloader)

    def before_val(self, runner: Runner) -> None:
        _check(runner.model, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        if not isinstance(runner.test_loop, ChannelRankingLoop):
            _check(runner.model, runner.test_dataloader)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        trained_for = checkpoint.get('meta', {}).get('dataset_meta') or {}
        if 'grid_size' not in trained_for:
            return
        got, expected = len(trained_for['classes']), getattr(_unwrap(runner.model).head, 'num_classes', None)
        if expected not in (None, got):
            size = trained_for['grid_size']
            raise ValueError(
                f'the checkpoint was trained for {trained_for["task"]} on a {size}x{size} grid ({got} classes), '
                f'but model.head.num_classes is {expected}; use the config it was trained with. To reuse only its '
                "backbone: backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.'))"
            )


def _unwrap(model: nn.Module) -> Any:
    return model.module if is_model_wrapper(model) else model


def _check(model: nn.Module, dataloader: DataLoader) -> None:
    classifier = _unwrap(model)
    head = getattr(classifier, 'head', None)
    expected, reason = _expected_classes(dataloader.dataset)
    got = getattr(head, 'num_classes', expected)
    if expected is not None and got != expected:
        raise ValueError(f'model.head.num_classes must be {expected} ({reason}), got {got}; set it in the config')


def _expected_classes(dataset: Any) -> tuple[int | None, str]:
    """Return the number of classes that the head must have, None if the data set does not say, and why."""
    meta = getattr(dataset, 'metainfo', None) or {}
    if meta.get('task') == 'location' and 'grid_size' in meta:
        size = meta['grid_size']
        return size**2, f'the data set asks for the location on a {size}x{size} grid'
    if meta.get('classes'):
        return len(meta['classes']), f'the classes of {type(dataset).__name__}'
    return None, ''
