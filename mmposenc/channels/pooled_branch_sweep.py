"""Channels off behind the global average pooling of an ASPP head."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from mmposenc.channels.aspp_parts import ASPPRecord, Slices, bottleneck_share, pooled_vectors
from mmposenc.channels.constant_maps import add_borders


class PooledBranchSweep:
    """Variants of DeepLabv3 with channels off after its GAP layer (Sec. 4.2.2).

    Only the constant vector of the pooling branch changes. The bottleneck is linear up to its activation, so a variant
    is the ordinary forward plus the convolution of the change, a constant map; then activation and classifier.

    Args:
        head: See `record_aspp`; in evaluation mode.
        record: Of an ordinary forward.
        image: Which image of the batch.
    """

    def __init__(self, head: Any, record: ASPPRecord, image: int) -> None:
        self.head = head
        self.pooled = record.pooled[0][image : image + 1]
        self.normalised = head.bottleneck.norm(record.bottleneck[0][image : image + 1])

    @property
    def variant_bytes(self) -> int:
        """Memory of one more variant at once, up to its logits."""
        return 2 * self.normalised.numel() * self.normalised.element_size()

    def logits(self, order: Sequence[int], slices: Slices, chunk: int) -> Iterator[tuple[list[int], Tensor]]:
        """Give positions in `slices` and the logits (n, K, h, w) of those variants, at most `chunk` at once.

        Args:
            order: All channels, best first.
            slices: (start, stop) of the ranks that are off in each variant.
            chunk: Variants at once.
        """
        vectors, unchanged = pooled_vectors(self.head, self.pooled, order, slices)
        shares = bottleneck_share(self.head, vectors - unchanged, self.normalised.shape[-2:])
        for first in range(0, len(slices), chunk):
            part = shares[first : first + chunk]
            features = self.head.bottleneck.activate(add_borders(self.normalised, part))
            yield list(range(first, first + len(part))), self.head.cls_seg(features)
