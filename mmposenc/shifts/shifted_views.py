"""What a model is shown while its consistency under shifts is measured."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mmposenc.mm.metrics.shift_consistency import PROTOCOLS, check_protocols, draw_shifts
from mmposenc.mm.models.batch_transforms import shift_images


class ShiftedViews:
    """The reference image and its shifted copies, for several N and protocols (Sec. 4.1, Cons.N of Table 2).

    The shifts of a sample follow from the seed and its position in the data set (`draw_shifts`), whatever batch it
    comes in. Images are normalised before: a fill of zero is the mean colour.

    Args:
        max_shifts: The N of Cons.N, in px, each at least 1.
        protocols: Names out of `mmposenc.evaluation.PROTOCOLS`.
        num_samples: Length of the data set.
        seed: Seed of the shifts.
        crop_size: Side in px of what the model sees of larger images: the middle of them, or for 'crop_pair' a window
            anywhere. None shows whole images.

    Attributes:
        keys: Name of each figure: `cons8_zero_ref` for N = 8, `cons_crop_pair` for windows.

    Raises:
        TypeError, ValueError: If an argument is not one of those above; when called, if the images are smaller than a
            crop or shift needs.
    """

    def __init__(
        self,
        max_shifts: Sequence[int],
        protocols: Sequence[str],
        num_samples: int,
        seed: int = 0,
        crop_size: int | None = None,
    ) -> None:
        check_protocols(protocols)
        _check_max_shifts(max_shifts)
        if crop_size is None and 'crop_pair' in protocols:
            raise ValueError("'crop_pair' needs a crop_size smaller than the images, e.g. 224 of 256 px; got None")
        if crop_size is not None and crop_size < 1:
            raise ValueError(f'crop_size must be at least 1 px, got {crop_size}')
        self.num_samples = num_samples
        self.seed = seed
        self.crop_size = crop_size
        self._figures: dict[str, tuple[str, int]] = {}
        for name in protocols:
            if PROTOCOLS[name].fill is None:
                self._figures[f'cons_{name}'] = (name, 0)
            else:
                self._figures |= {f'cons{max_shift}_{name}': (name, max_shift) for max_shift in max_shifts}
        self._tables: dict[tuple[str, tuple[range, range]], Tensor] = {}

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self._figures)

    def reference(self, images: Tensor) -> Tensor:
        """Return what Top-1 is measured on: the images, or their middle, rounded like the hosts' CenterCrop.

        Shape:
            images (N, C, H, W); output (N, C, H, W), or (N, C, crop_size, crop_size).
        """
        if self.crop_size is None:
            return images
        height, width = images.shape[-2:]
        if self.crop_size > min(height, width) - 2:
            raise ValueError(
                f'crop_size must be at least 2 px smaller than the images ({height}x{width} px), got {self.crop_size}; '
                'resize the images to more in the pipeline'
            )
        top, left = round((height - self.crop_size) / 2), round((width - self.crop_size) / 2)
        return images[..., top : top + self.crop_size, left : left + self.crop_size]

    def shifted(self, key: str, images: Tensor, indices: Sequence[int]) -> Iterator[Tensor]:
        """Yield the shifted views of one figure: one that is compared with the reference, or a pair.

        Args:
            key: One of `keys`.
            images: Whole images, normalised.
            indices: Position of each in the data set.

        Shape:
            images (N, C, H, W); each output as that of `reference`.
        """
        protocol, max_shift = self._figures[key]
        fill = PROTOCOLS[protocol].fill
        reference = self.reference(images)
        if fill is not None:
            for shifts in self._draw(protocol, (range(-max_shift, max_shift + 1),) * 2, indices):
                yield shift_images(reference, shifts, fill, max_shift)
            return
        height, width = reference.shape[-2:]
        rows, columns = images.shape[-2] - height, images.shape[-1] - width
        for offsets in self._draw(protocol, (range(rows), range(columns)), indices):
            # Moved back by its offset, a window lies in the top left corner.
            moved = shift_images(images, -offsets, max_shift=max(rows, columns) - 1)
            yield moved[..., :height, :width]

    def _draw(self, protocol: str, spans: tuple[range, range], indices: Sequence[int]) -> tuple[Tensor, ...]:
        if (protocol, spans) not in self._tables:
            self._tables[protocol, spans] = draw_shifts(protocol, spans, self.num_samples, self.seed)
        return self._tables[protocol, spans][torch.tensor(indices)].unbind(1)


def _check_max_shifts(max_shifts: Sequence[int]) -> None:
    if isinstance(max_shifts, str) or not isinstance(max_shifts, Sequence):
        raise TypeError(f'max_shifts must be a list of px, got {max_shifts!r}; write max_shifts=[{max_shifts!r}]')
    integers = all(isinstance(n, int) and n >= 1 for n in max_shifts)
    if not integers or not max_shifts or len(set(max_shifts)) < len(max_shifts):
        raise ValueError(f'max_shifts must be one or more different px, integers of at least 1; got {list(max_shifts)}')
