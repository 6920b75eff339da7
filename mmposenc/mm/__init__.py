"""OpenMMLab's side: classes by role; importing this registers them.

That also lets `_base_ = 'mmposenc::NAME.py'` and `mmseg::` bases be found.
"""

from mmposenc.host import resume
from mmposenc.host.config import resolve_config_packages
from mmposenc.mm import datasets, hooks, loops, metrics, models

__all__ = ['datasets', 'hooks', 'loops', 'metrics', 'models', 'resume']

resolve_config_packages()
