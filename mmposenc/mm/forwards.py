"""What hooks and loops ask of a runner's model: whole images, and a forward that pads changed images."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mmposenc.layers import unwrap_model


def require_whole_images(model: nn.Module, allow_slide: bool = False) -> None:
    """Refuse a runner's model that is tested by sliding windows, by its `test_cfg`, unless `allow_slide`."""
    mode = (getattr(unwrap_model(model), 'test_cfg', None) or {}).get('mode', 'whole')
    if mode != 'whole' and not allow_slide:
        got = f"but model.test_cfg.mode is {mode!r}: set mode='whole', or allow_slide=True if you study windows"
        raise ValueError(f'position in the image needs whole-image inference, {got}')


def first_window(model: Any, images: Tensor) -> Tensor:
    """The first image; if the model is tested by sliding windows, its first window."""
    test_cfg = getattr(model, 'test_cfg', None) or {}
    height, width = test_cfg['crop_size'] if test_cfg.get('mode') == 'slide' else images.shape[-2:]
    return images[:1, ..., :height, :width]


def tensor_forward(model: Any, batch: dict[str, Any]) -> Callable[[Tensor], object]:
    """A function from images as a data loader gives them, such as those of `batch`, to the network's output.

    Its preprocessor pads, so images flipped or rolled before it have their padding where the network expects it.
    """

    def forward(images: Tensor) -> object:
        changed = {**batch, 'inputs': images if isinstance(batch['inputs'], Tensor) else list(images)}
        samples = batch.get('data_samples')
        if isinstance(samples, (list, tuple)):  # Copies, since preprocessors write into them.
            changed['data_samples'] = [sample.new() for sample in samples[: len(images)]]
        return model(**model.data_preprocessor(changed, False), mode='tensor')

    return forward
