"""The figures of a test, written down once."""

from mmengine.dist import master_only
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner

from mmposenc.registry import HOOKS


@HOOKS.register_module()
class MainProcessLoggerHook(LoggerHook):
    """mmengine's `LoggerHook`, whose JSON file of a test is written by the first process alone (ours).

    The host's hook lets every process write the figures to the same file at the same time. Their times differ, so the
    file can end with the rest of a longer one, and is no JSON then. In a config:
    `default_hooks = dict(logger=dict(type='mmposenc.MainProcessLoggerHook'))`.
    """

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        super().after_test_epoch(runner, metrics)
