"""A resumed training draws the random numbers that the uninterrupted one would have drawn."""

from typing import Any

from mmengine.dist import all_gather_object, get_dist_info, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmposenc.host.random_state import read_random_state, set_random_state
from mmposenc.mm.hookable_model import inner_model
from mmposenc.registry import HOOKS

KEY = 'random_states'


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Saves the random state of every process in the checkpoint, and restores it on resume (ours).

    mmengine saves none, so that a resumed training repeats the random numbers of its beginning. A validation draws from
    the same generators; their state before it is put back after it, so that the training does not depend on when it
    is validated, nor on whether it was interrupted before or after that.

    With several processes every one must take part before the first saves: `AtomicCheckpointHook` and `StopSignalHook`
    call `before_checkpoint` for that. Other checkpoint hooks save no random state then, and the resumed run says so.

    Example:
        >>> custom_hooks = [dict(type='mmposenc.RandomStateHook')]
    """

    # What another hook draws before the training begins is drawn before the state is restored.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._loaded: list[dict[str, Any]] | None = None
        self._resumed = False
        self._states: list[dict[str, Any]] | None = None
        self._validating = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._loaded, self._resumed = checkpoint.get(KEY), 'message_hub' in checkpoint

    def before_train(self, runner: Runner) -> None:
        """Restore, unless the checkpoint only gave the weights to begin with."""
        states, self._loaded = self._loaded, None
        rank, world_size = get_dist_info()
        if not (self._resumed and runner.iter):
            return
        if states is None:
            runner.logger.warning('the checkpoint holds no random state: augmentations are drawn anew')
        elif len(states) != world_size:
            runner.logger.warning(
                f'the checkpoint is of {len(states)} processes, this run has {world_size}: augmentations are drawn anew'
            )
        else:
            set_random_state(states[rank], inner_model(runner.model))

    def before_val(self, runner: Runner) -> None:
        self._gather(runner)
        self._validating = True

    def after_val(self, runner: Runner) -> None:
        states, self._states, self._validating = self._states, None, False
        if states is not None:
            set_random_state(states[get_dist_info()[0]], inner_model(runner.model))

    def before_checkpoint(self, runner: Runner) -> None:
        """Gather the states; every process calls it, the first one saves next."""
        if not self._validating:
            self._gather(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the states; only the first process comes here."""
        if get_world_size() == 1:
            self.before_checkpoint(runner)
        if self._states is not None:
            checkpoint[KEY] = self._states
        if not self._validating:
            self._states = None

    def _gather(self, runner: Runner) -> None:
        self._states = all_gather_object(read_random_state(inner_model(runner.model)))
