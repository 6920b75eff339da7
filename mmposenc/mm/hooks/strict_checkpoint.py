"""Refusing a checkpoint of another model."""

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner

from mmposenc.registry import HOOKS


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Stops a run whose checkpoint does not fit its model exactly (ours).

    The hosts log a warning and go on with whatever fits, so that a test of the wrong model gives a number all the
    same. The tools add this hook to every test and every resumed training; starting from other weights (`load_from`
    without resuming) stays as lenient as the hosts make it.

    Example:
        >>> custom_hooks = [dict(type='mmposenc.StrictCheckpointHook')]
    """

    # After every hook that changes the checkpoint, such as mmengine's EMAHook.
    priority = 'LOWEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare with the model before the host loads the checkpoint into it.

        Raises:
            ValueError: If a key is missing or unexpected, or a shape differs.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        weights = {
            key.removeprefix('module.'): value for key, value in checkpoint.get('state_dict', checkpoint).items()
        }
        try:
            missing, unexpected = model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            shapes = [line.strip().rstrip('.') for line in str(error).splitlines()[1:]]
            raise ValueError(self._message(runner, {'of another shape': shapes})) from error
        # Old checkpoints lack the counters of batch normalisation, which no result depends on.
        missing = [key for key in missing if not key.endswith('num_batches_tracked')]
        if missing or unexpected:
            raise ValueError(self._message(runner, {'missing': missing, 'unexpected': unexpected}))

    @staticmethod
    def _message(runner: Runner, keys: dict[str, list[str]]) -> str:
        found = [f'{len(some)} {kind}, first {"; ".join(some[:3])}' for kind, some in keys.items() if some]
        return (
            f'the checkpoint is of another model than {runner.model_name} of this config: {" | ".join(found)}. '
            'Give the config that the checkpoint was trained with'
        )
