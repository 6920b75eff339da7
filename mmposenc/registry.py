"""The registries of scope `mmposenc`, children of mmengine's roots.

A config names a component of this package as `mmposenc.X`; the host's `default_scope` (mmpretrain or mmseg) stays.
`locations` are imported on the first look-up: `custom_imports = dict(imports=['mmposenc'])` is all a config needs.
"""

from mmengine import registry as roots
from mmengine.registry import Registry

__all__ = ['DATASETS', 'FUNCTIONS', 'HOOKS', 'LOOPS', 'METRICS', 'MODELS', 'OPTIM_WRAPPERS', 'TRANSFORMS']


def _child(name: str, root: Registry, *locations: str) -> Registry:
    return Registry(name, parent=root, scope='mmposenc', locations=[f'mmposenc.{place}' for place in locations])


# Data sets, and the function that passes their ready-made batches through the data loader.
DATASETS = _child('dataset', roots.DATASETS, 'datasets')
FUNCTIONS = _child('function', roots.FUNCTIONS, 'datasets')
# Transforms of one sample (datasets) and of a whole batch on the device (models).
TRANSFORMS = _child('transform', roots.TRANSFORMS, 'datasets', 'models')
# Classifiers, necks, heads, backbones, losses and data preprocessors.
MODELS = _child('model', roots.MODELS, 'models')
# Training, evaluation, ranking and sweep loops, and what accompanies them.
LOOPS = _child('loop', roots.LOOPS, 'engine')
HOOKS = _child('hook', roots.HOOKS, 'engine')
OPTIM_WRAPPERS = _child('optimizer wrapper', roots.OPTIM_WRAPPERS, 'engine')
METRICS = _child('metric', roots.METRICS, 'evaluation')
