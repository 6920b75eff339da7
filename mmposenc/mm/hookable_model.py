"""What a loop asks of a runner's model."""

from torch import nn

from mmposenc.layers import eager_forwards
from mmposenc.layers import unwrap_model as inner_model

__all__ = ['eager_forwards', 'inner_model', 'require_whole_images']


def require_whole_images(model: nn.Module, allow_slide: bool = False) -> None:
    """Refuse a network that is tested by sliding windows (ours).

    Args:
        model: A runner's model.
        allow_slide: Refuse nothing.

    Raises:
        ValueError: If mmseg's `test_cfg` of the model has mode 'slide' (or another with windows).
    """
    mode = (getattr(inner_model(model), 'test_cfg', None) or {}).get('mode', 'whole')
    if mode != 'whole' and not allow_slide:
        raise ValueError(
            f'position in the image needs whole-image inference, but model.test_cfg.mode is {mode!r}: a global average '
            f"over a window knows the window only. Set model.test_cfg=dict(mode='whole'), or allow_slide=True if "
            f'windows are what you study'
        )
