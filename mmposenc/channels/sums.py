"""Running sums over pairs from which every channel score is read (Sec. 4.2.1, Eq. 2 and 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmposenc.ranking import STATISTICS

_ABS, _SIGNED, _FIRST, _MAGNITUDE, _IMAGES = range(5)


class PairedSums:
    """Five running sums per channel in float64, which hold every score of one pass (Sec. 4.2.1, Eq. 2 and 3).

    Memory does not grow with the number of images, and the result does not depend on how they are batched. `state` is
    one tensor that adds up: over ranks with one `all_reduce(sums.state)`, over parts of a data set with `merge`.

    Args:
        num_channels: C of the layer.
        device: Where the sums are kept; the features' device avoids transfers.

    Attributes:
        state: float64 (5, C): sums of |z1 - z2|, z1 - z2, z1, (|z1| + |z2|) / 2, and the number of images.
    """

    def __init__(self, num_channels: int, device: torch.device | str = 'cpu') -> None:
        if num_channels < 1:
            raise ValueError(f'num_channels must be at least 1, got {num_channels}')
        self.state = torch.zeros(5, num_channels, dtype=torch.float64, device=device)

    @property
    def num_channels(self) -> int:
        """C of the layer."""
        return self.state.shape[1]

    @property
    def num_images(self) -> int:
        """Number of pairs added so far; reading it waits for the device."""
        return int(self.state[_IMAGES, 0])

    def update(self, first: Tensor, second: Tensor) -> None:
        """Add the pooled features of a batch of pairs, each (N, C); no wait for the device."""
        if first.shape != second.shape or first.ndim != 2 or first.shape[1] != self.num_channels:
            raise ValueError(
                f'both members of a pair must be (N, {self.num_channels}), '
                f'got {tuple(first.shape)} and {tuple(second.shape)}'
            )
        first, second = first.to(self.state), second.to(self.state)
        difference = first - second
        magnitude = (first.abs() + second.abs()) / 2
        self.state += torch.stack([difference.abs(), difference, first, magnitude, torch.ones_like(first)]).sum(1)

    def merge(self, other: 'PairedSums') -> None:
        """Add the sums of another part of the data."""
        if other.num_channels != self.num_channels:
            raise ValueError(f'sums of {self.num_channels} and of {other.num_channels} channels cannot be merged')
        self.state += other.state.to(self.state.device)

    def scores(self, statistic: str = 'abs', reference: Tensor | Sequence[float] | None = None) -> Tensor:
        """One score per channel; with means over the n pairs seen (Sec. 4.2.1, Eq. 2 and 3).

        - `abs`: mean |z1 - z2|, Eq. 2.
        - `signed`: mean (z1 - z2), Eq. 3; over images whose objects are all on the left it is high for the channels
          of the left, over those of the right for the channels of the right.
        - `relative` (ours): mean |z1 - z2| / mean (|z1| + |z2|) / 2, from 0 to 2; 0 for a channel that is always 0.
        - `centred` (ours): Eq. 3 minus `reference`, the `signed` scores of the whole data set. A kernel that answers
          to handedness and not to place has the same mean (z1 - z2) everywhere, and so drops out.
        - `mean_activation` (ours): mean z1, a control.

        Returns:
            float64 (C,) on the CPU.

        Raises:
            ValueError: If no pair was added, or a feature was NaN or infinite.
        """
        check_statistic(statistic, reference is not None)
        if self.num_images == 0:
            raise ValueError('no image was seen: the data set or the subset is empty, so there is nothing to rank')
        self._check_finite()
        means = (self.state / self.state[_IMAGES]).cpu()
        if statistic == 'relative':
            return torch.where(means[_MAGNITUDE] > 0, means[_ABS] / means[_MAGNITUDE], 0.0)
        if statistic == 'centred':
            return means[_SIGNED] - self._reference_scores(reference)
        return means[{'abs': _ABS, 'signed': _SIGNED, 'mean_activation': _FIRST}[statistic]].clone()

    def _reference_scores(self, reference: Tensor | Sequence[float] | None) -> Tensor:
        scores = torch.as_tensor(reference, dtype=torch.float64).cpu()
        if scores.shape != (self.num_channels,):
            raise ValueError(f'reference must hold {self.num_channels} scores, got shape {tuple(scores.shape)}')
        return scores

    def _check_finite(self) -> None:
        broken = (~self.state.isfinite()).any(0).nonzero().flatten().tolist()
        if broken:
            raise ValueError(
                f'{len(broken)} of {self.num_channels} channels gave NaN or infinite activations (the first is channel '
                f'{broken[0]}), so they cannot be ranked: check the checkpoint and the precision of the forward'
            )


def check_statistic(statistic: str, has_reference: bool) -> None:
    """Refuse an unknown statistic, and 'centred' without its reference or another with one (ours)."""
    if statistic not in STATISTICS:
        raise ValueError(f'statistic must be one of {", ".join(STATISTICS)}, got {statistic!r}')
    if has_reference != (statistic == 'centred'):
        raise ValueError(
            f"reference, the signed scores of the whole data set, must be given with statistic 'centred' and with no "
            f'other; got statistic {statistic!r} {"with" if has_reference else "without"} a reference'
        )
