"""OpenMMLab's side: the registered classes, by role. Importing it registers all of them.

It also lets `_base_ = 'mmposenc::NAME.py'` and `mmseg::` bases be found.
"""

from mmposenc.host import resume, signals
from mmposenc.host.config import resolve_config_packages
from mmposenc.mm import datasets, hooks, loops, metrics, models

__all__ = [
    'datasets',
    'hooks',
    'loops',
    'metrics',
    'models',
    'resume',
    'signals',
]

resolve_config_packages()
