"""Moving every image of a batch by its own offset."""

import torch
import torch.nn.functional as F
from torch import Tensor

FILLS = {'zero': 'constant', 'roll': 'circular', 'reflect': 'reflect', 'replicate': 'replicate'}


def shift_images(images: Tensor, shifts: Tensor, fill: str = 'zero', max_shift: int | None = None) -> Tensor:
    """Move every image by its own offset (the random crop of Sec. 4.1, seen as a shift).

    Args:
        images: Floating point, (N, C, H, W); a fill of zero is the mean colour if they are normalised.
        shifts: Offsets (dy, dx) in px, (N, 2), int64: output[y, x] = input[y - dy, x - dx].
        fill: What moves in: 'zero', 'roll' (what moved out), 'reflect' or 'replicate'.
        max_shift: Upper bound of |shifts| in px, below the image's size. None reads it from `shifts`, which waits for
            the device.
    """
    check_fill(fill)
    # Shifts that already lie on a GPU were drawn within the bound: reading them would wait for it.
    largest = int(shifts.abs().max()) if max_shift is None or not shifts.is_cuda else 0
    bound = largest if max_shift is None else max_shift
    height, width = images.shape[-2:]
    if largest > bound:
        raise ValueError(f'shifts must be at most max_shift = {bound} px, got {largest}')
    if bound >= min(height, width):
        raise ValueError(f'max_shift must be smaller than the image ({height}x{width} px), got {bound}')
    if bound == 0:
        return images.clone()
    padded = F.pad(images, (bound,) * 4, mode=FILLS[fill])
    return cut_windows(padded, bound - shifts, height, width)


def cut_windows(images: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """Cut out of each image (N, C, H, W) a window (C, height, width) at its own offset (top, left) of (N, 2), in px."""
    windows = images.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, places, places, height, width), a view
    tops, lefts = offsets.to(images.device).unbind(1)
    return windows[torch.arange(len(images), device=images.device), :, tops, lefts]


def random_shift(images: Tensor, max_shift: int = 8, fill: str = 'zero') -> Tensor:
    """Move each image by a random offset, uniform over the integers in [-max_shift, max_shift] px on each axis."""
    shifts = torch.randint(-max_shift, max_shift + 1, (len(images), 2), device=images.device)
    return shift_images(images, shifts, fill, max_shift)


def check_fill(fill: str) -> None:
    """Raise a ValueError unless `shift_images` knows the fill."""
    if fill not in FILLS:
        raise ValueError(f'fill must be one of {", ".join(FILLS)}, got {fill!r}')
