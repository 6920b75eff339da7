"""Transforms of a whole batch on its device: flip, shift, two views.

They take and return the batch as a dict. `inputs` is a float tensor (B, C, H, W) that is already normalised, so a fill
of zero is the mean colour. Only a batch that went through `BatchTwoViews` holds a list of two such tensors.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmposenc.registry import TRANSFORMS

Batch = dict
FILLS = {'zero': 'constant', 'roll': 'circular', 'reflect': 'reflect', 'replicate': 'replicate'}


def shift_images(images: Tensor, shifts: Tensor, fill: str = 'zero', max_shift: int | None = None) -> Tensor:
    """Move every image by its own offset (the crop of Sec. 4.1 seen as a shift).

    The batch is padded once by `max_shift`; each image is then one window of its padded self, so any fill that
    `torch.nn.functional.pad` knows costs the same.

    Args:
        images: Images of any dtype.
        shifts: Offsets (dy, dx) in px: output[y, x] = input[y - dy, x - dx].
        fill: What moves in: 'zero', 'roll' (what moved out), 'reflect' or 'replicate'.
        max_shift: Bound of |shifts| in px. None reads it from `shifts`, which waits for the device.

    Shape:
        images (N, C, H, W); shifts (N, 2), int64; output (N, C, H, W).

    Raises:
        ValueError: If the fill is unknown, or `max_shift` is not smaller than the image.
    """
    check_fill(fill)
    bound = int(shifts.abs().max()) if max_shift is None else max_shift
    height, width = images.shape[-2:]
    if bound >= min(height, width):
        raise ValueError(f'max_shift must be smaller than the image ({height}x{width} px), got {bound}')
    if bound == 0:
        return images.clone()
    padded = F.pad(images, (bound,) * 4, mode=FILLS[fill])
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2b+1, 2b+1, H, W), a view
    tops, lefts = (bound - shifts.to(images.device)).unbind(1)
    return windows[torch.arange(len(images), device=images.device), :, tops, lefts]


def check_fill(fill: str) -> None:
    """Raise a ValueError unless `shift_images` knows the fill (ours)."""
    if fill not in FILLS:
        raise ValueError(f'fill must be one of {", ".join(FILLS)}, got {fill!r}')


@TRANSFORMS.register_module()
class BatchRandomFlip:
    """Mirror each image left-right with probability `prob` (Sec. 4.1: shared by both views when it comes before them).

    Args:
        prob: Probability of a flip, per image. Default 0.5.

    Required Keys:
        - inputs

    Modified Keys:
        - inputs

    Raises:
        ValueError: If `prob` lies outside [0, 1].
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must lie in [0, 1], got {prob}')
        self.prob = prob

    def __call__(self, batch: Batch) -> Batch:
        images = batch['inputs']
        flipped = torch.rand(len(images), 1, 1, 1, device=images.device) < self.prob
        return {**batch, 'inputs': torch.where(flipped, images.flip(-1), images)}


@TRANSFORMS.register_module()
class BatchRandomShift:
    """Shift each image by an offset of its own: the random crop of a padded image (Sec. 4.1).

    Args:
        max_shift: Largest shift in px, each axis, uniform over the integers in [-max_shift, max_shift]. Default 8,
            the range of the paper's Cons.8.
        fill: See `shift_images`. Default 'zero', after normalisation.

    Required Keys:
        - inputs

    Modified Keys:
        - inputs

    Raises:
        ValueError: If the fill is unknown or `max_shift` is below 1; when called, if it is not smaller than the image.
    """

    def __init__(self, max_shift: int = 8, fill: str = 'zero') -> None:
        if max_shift < 1:
            raise ValueError(f'max_shift must be at least 1 px, got {max_shift}; leave the transform out for no shift')
        check_fill(fill)
        self.max_shift = max_shift
        self.fill = fill

    def __call__(self, batch: Batch) -> Batch:
        images = batch['inputs']
        shifts = torch.randint(-self.max_shift, self.max_shift + 1, (len(images), 2), device=images.device)
        return {**batch, 'inputs': shift_images(images, shifts, self.fill, self.max_shift)}


@TRANSFORMS.register_module()
class BatchTwoViews:
    """Two independently transformed views of each image (Fig. 2): the batch counterpart of mmpretrain's `MultiView`.

    What stands before it in the list of transforms is shared by both views.

    Args:
        transforms: Batch transforms, as configs or callables, run once per view.

    Required Keys:
        - inputs

    Modified Keys:
        - inputs (a list of two tensors of the same shape)
    """

    def __init__(self, transforms: Sequence[dict | Callable[[Batch], Batch]]) -> None:
        self.transforms = build_batch_transforms(transforms)

    def __call__(self, batch: Batch) -> Batch:
        views = []
        for _ in range(2):
            view = batch
            for transform in self.transforms:
                view = transform(view)
            views.append(view['inputs'])
        return {**batch, 'inputs': views}


def build_batch_transforms(transforms: Sequence[dict | Callable[[Batch], Batch]]) -> list[Callable[[Batch], Batch]]:
    """Build the transforms that are given as configs (ours)."""
    return [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in transforms]
