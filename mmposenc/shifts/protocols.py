"""The named protocols of consistency under shifts, the shifts they draw, and the views a model is shown."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmposenc.shifts.shift import cut_windows, shift_images


class ShiftProtocol(NamedTuple):
    """What moves into a shifted image, None for windows of a larger one; and how many of the two views are shifted."""

    fill: str | None
    views: int


# Which two views are compared: 1 the image itself with a shifted copy, 2 two copies (Sec. 4.1, Cons.N of Table 2).
PROTOCOLS = {
    'zero_ref': ShiftProtocol('zero', 1),
    'zero_pair': ShiftProtocol('zero', 2),
    'roll_ref': ShiftProtocol('roll', 1),
    'roll_pair': ShiftProtocol('roll', 2),
    'reflect_ref': ShiftProtocol('reflect', 1),
    'reflect_pair': ShiftProtocol('reflect', 2),
    'crop_pair': ShiftProtocol(None, 2),
}


def draw_shifts(protocol: str, spans: tuple[range, range], num_samples: int, seed: int = 0) -> Tensor:
    """Draw the shifts of all samples, (num_samples, views, 2), int64, the last axis (dy, dx) (Cons.N of Table 2).

    They are uniform in `spans`, the offsets in px that may be drawn, vertical and horizontal: `range(-8, 9)` twice for
    Cons.8. Row i depends on nothing but the seed, the protocol, the spans and i.
    """
    axes = []
    for axis, span in zip('yx', spans, strict=True):
        digest = hashlib.sha256(f'{seed}/{protocol}/{span.start}/{span.stop}/{axis}'.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], 'big'))
        size = (num_samples, PROTOCOLS[protocol].views)
        axes.append(torch.randint(span.start, span.stop, size, generator=generator))
    return torch.stack(axes, dim=-1)


class ShiftedViews:
    """The reference image and its shifted copies, for several N and protocols (Sec. 4.1, Cons.N of Table 2).

    Args:
        max_shifts, protocols, seed, crop_size: As for `shift_consistency`.
        num_samples: Length of the data set; None draws as many shifts as are asked for.

    Attributes:
        figures: Protocol and N by name: `cons8_zero_ref` for N = 8, `cons_crop_pair` (N is None) for windows.
    """

    def __init__(
        self,
        max_shifts: Sequence[int],
        protocols: Sequence[str],
        num_samples: int | None = None,
        seed: int = 0,
        crop_size: int | None = None,
    ) -> None:
        listed = isinstance(protocols, Sequence) and not isinstance(protocols, str) and len(protocols)
        if not listed or set(protocols) - PROTOCOLS.keys():
            raise ValueError(f'protocols must be a list of one or more of {", ".join(PROTOCOLS)}; got {protocols!r}')
        listed = isinstance(max_shifts, Sequence) and len(max_shifts)
        if not listed or not all(isinstance(n, int) and n >= 1 for n in max_shifts):
            raise ValueError(f'max_shifts must be a list of one or more integers of at least 1 px; got {max_shifts!r}')
        if crop_size is None and 'crop_pair' in protocols:
            raise ValueError("'crop_pair' needs a crop_size smaller than the images, e.g. 224 of 256 px; got None")
        if crop_size is not None and crop_size < 1:
            raise ValueError(f'crop_size must be at least 1 px, got {crop_size}')
        self.num_samples, self.seed, self.crop_size = num_samples, seed, crop_size
        self.figures: dict[str, tuple[str, int | None]] = {}
        for name in protocols:
            windows = PROTOCOLS[name].fill is None
            for max_shift in (None,) if windows else max_shifts:
                self.figures[f'cons{"" if windows else max_shift}_{name}'] = (name, max_shift)
        self.keys = tuple(self.figures)
        self._tables: dict[tuple[str, tuple[range, range]], Tensor] = {}

    def reference(self, images: Tensor) -> Tensor:
        """What Top-1 is measured on: the images (N, C, H, W), or their center crop, rounded as in mmcv."""
        if self.crop_size is None:
            return images
        height, width = images.shape[-2:]
        if self.crop_size > min(height, width) - 2:
            size = f'the images ({height}x{width} px), got {self.crop_size}; enlarge the images'
            raise ValueError(f'crop_size must be at least 2 px smaller than {size}')
        top, left = round((height - self.crop_size) / 2), round((width - self.crop_size) / 2)
        return images[..., top : top + self.crop_size, left : left + self.crop_size]

    def shifted(self, key: str, images: Tensor, indices: Sequence[int] | Tensor) -> Iterator[Tensor]:
        """Yield the shifted views of one of `keys`, sized as `reference`: one that is compared with it, or a pair.

        `images` are whole and normalised, (N, C, H, W), so that a fill of zero is the mean colour; `indices` are their
        positions in the data set.
        """
        protocol, max_shift = self.figures[key]
        fill = PROTOCOLS[protocol].fill
        reference = self.reference(images)
        if fill is not None and max_shift is not None:
            for shifts in self._draw(protocol, (range(-max_shift, max_shift + 1),) * 2, indices):
                yield shift_images(reference, shifts, fill, max_shift)
        else:
            height, width = reference.shape[-2:]
            spans = (range(images.shape[-2] - height), range(images.shape[-1] - width))
            for offsets in self._draw(protocol, spans, indices):
                yield cut_windows(images, offsets, height, width)

    def _draw(self, protocol: str, spans: tuple[range, range], indices: Sequence[int] | Tensor) -> tuple[Tensor, ...]:
        positions = torch.as_tensor(indices)
        table = self._tables.get((protocol, spans))
        if table is None or len(table) <= positions.max():
            # A longer table begins with the shorter one.
            size = self.num_samples or 2 ** int(positions.max() + 1).bit_length()
            table = self._tables[protocol, spans] = draw_shifts(protocol, spans, size, self.seed)
        return table[positions].unbind(1)
