"""A check that data set, head and checkpoint have the same classes."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmposenc.layers import unwrap_model
from mmposenc.mm.loops.rank import ChannelRankingLoop
from mmposenc.registry import HOOKS


@HOOKS.register_module()
class HeadCheckHook(Hook):
    """Stops a run whose head has other classes than its data, the cells of a grid among them (Sec. 3, Table 1).

    A head with too many outputs would train as if nothing were wrong, and mmengine loads a checkpoint of another grid
    without its head. Ranking channels needs no labels, so any data will do there.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        for loop in filter(None, (runner.train_loop, runner.val_loop)):
            _check(runner.model, loop.dataloader)

    def before_val(self, runner: Runner) -> None:
        _check(runner.model, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        if not isinstance(runner.test_loop, ChannelRankingLoop):
            _check(runner.model, runner.test_dataloader)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        trained_for = checkpoint.get('meta', {}).get('dataset_meta') or {}
        got, expected = len(trained_for.get('classes', ())), _classes_of_head(runner.model)
        if 'grid_size' in trained_for and expected not in (None, got):
            grid = '{0}x{0} grid'.format(trained_for['grid_size'])
            raise ValueError(
                f'the checkpoint was trained for {trained_for["task"]} on a {grid} ({got} classes), '
                f'but model.head.num_classes is {expected}; use the config it was trained with. To reuse only its '
                "backbone: backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.'))"
            )


def _classes_of_head(model: nn.Module) -> int | None:
    return getattr(getattr(unwrap_model(model), 'head', None), 'num_classes', None)


def _check(model: nn.Module, dataloader: DataLoader) -> None:
    meta = getattr(dataloader.dataset, 'metainfo', None) or {}
    got, expected = _classes_of_head(model), len(meta.get('classes') or ())  # a grid's classes are its cells
    if got is not None and expected and got != expected:
        reason = f'the classes of {type(dataloader.dataset).__name__}'
        if meta.get('task') == 'location':
            reason = 'the data set asks for the location on a {0}x{0} grid'.format(meta['grid_size'])
        raise ValueError(f'model.head.num_classes must be {expected} ({reason}), got {got}; set it in the config')
