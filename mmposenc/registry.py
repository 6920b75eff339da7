"""The registries of scope `mmposenc`, children of mmengine's roots.

A config names a component of this package as `mmposenc.X`; its own `default_scope` (mmpretrain or mmseg) stays.
`mmposenc.mm` is imported on the first look-up: `custom_imports = dict(imports=['mmposenc'])` is all a config needs.
"""

from mmengine import registry as roots
from mmengine.registry import Registry

__all__ = ['DATASETS', 'FUNCTIONS', 'HOOKS', 'LOOPS', 'METRICS', 'MODELS', 'OPTIM_WRAPPERS', 'TRANSFORMS']


def _child(name: str, root: Registry) -> Registry:
    return Registry(name, parent=root, scope='mmposenc', locations=['mmposenc.mm'])


DATASETS = _child('dataset', roots.DATASETS)
FUNCTIONS = _child('function', roots.FUNCTIONS)
TRANSFORMS = _child('transform', roots.TRANSFORMS)
MODELS = _child('model', roots.MODELS)
LOOPS = _child('loop', roots.LOOPS)
HOOKS = _child('hook', roots.HOOKS)
OPTIM_WRAPPERS = _child('optimizer wrapper', roots.OPTIM_WRAPPERS)
METRICS = _child('metric', roots.METRICS)
