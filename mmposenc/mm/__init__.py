"""OpenMMLab's side: the registered classes, by role. Importing it registers all of them."""

from mmposenc.host import atomic_checkpoint, random_state_hook, resumable_loops, stop_signal
from mmposenc.mm import datasets, hooks, loops, metrics, models

__all__ = [
    'atomic_checkpoint',
    'datasets',
    'hooks',
    'loops',
    'metrics',
    'models',
    'random_state_hook',
    'resumable_loops',
    'stop_signal',
]
