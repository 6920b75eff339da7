"""Position information is encoded channel-wise in CNNs: an OpenMMLab extension.

Islam, Kowal, Jia, Derpanis, Bruce, "Global Pooling, More than Meets the Eye: Position Information is Encoded
Channel-Wise in CNNs", ICCV 2021. `mmposenc.channels` needs PyTorch alone; everything else needs the OpenMMLab stack.
"""

import warnings
from importlib.util import find_spec

from mmposenc.version import __version__

__all__ = ['__version__']

_missing = [name for name in ('mmengine', 'mmcv', 'mmpretrain', 'mmseg') if find_spec(name) is None]
if _missing:
    warnings.warn(
        f'mmposenc: {", ".join(_missing)} not found, so only mmposenc.channels can be used. '
        "Install the OpenMMLab stack with: pip install 'mmposenc[onedl]' (or 'mmposenc[openmmlab]' for the official "
        'distributions, in an environment of its own).',
        stacklevel=2,
    )
