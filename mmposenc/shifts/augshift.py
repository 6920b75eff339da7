"""AugShift: two shifted views of each image, and the objective that pulls their features together (Fig. 2, Eq. 1)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmposenc.shifts.shift import random_shift

Criterion = Callable[[Tensor, Tensor], Tensor]
Views = tuple[Tensor, Tensor]


def two_views(images: Tensor, max_shift: int = 8, fill: str = 'zero') -> Views:
    """Two views of each normalised image (N, C, H, W), each moved by a random offset of its own (Fig. 2).

    The offsets are at most `max_shift` px on each axis; for `fill` see `shift_images`. Flips and other augmentations
    that both views should share come before it.

    Example:
        >>> first, second = two_views(torch.rand(4, 3, 32, 32))
        >>> first.shape
        torch.Size([4, 3, 32, 32])
    """
    return random_shift(images, max_shift, fill), random_shift(images, max_shift, fill)


def augshift_loss(
    scores: Views,
    pooled: Views,
    labels: Tensor,
    mse_weight: float = 10.0,
    criterion: Criterion = F.cross_entropy,
    mse: str = 'absolute',
) -> Tensor:
    """AugShift's objective, a scalar: criterion(s1, y) + criterion(s2, y) + lambda * MSE(z1, z2) (Eq. 1).

    Args:
        scores: Of the two views, each (N, K). `tensor.chunk(2)` splits what one forward of both views gave.
        pooled: Features after global average pooling of the two views, each (N, C); `record_pooled` gives them.
        labels: (N,).
        mse_weight, mse: See `AugShiftLoss`.
        criterion: Loss of one view from its scores and labels.

    Example:
        >>> scores, pooled, labels = torch.zeros(4, 10), torch.ones(4, 512), torch.tensor([3, 7])
        >>> augshift_loss(scores.chunk(2), pooled.chunk(2), labels)
        tensor(4.6052)
    """
    return torch.stack(tuple(AugShiftLoss(mse_weight, mse)(scores, pooled, labels, criterion).values())).sum()


class AugShiftLoss(nn.Module):
    """The three terms of Eq. 1 by name: two cross entropies, and lambda times the MSE of the pooled features.

    The mean squared error runs over batch and channels, and neither side is detached. It is in the units of the
    features, so a network can lower it by shrinking all of them. `mse='relative'` divides it by the mean over channels
    of their variance over the 2N views of the batch (of one process), not detached: 0 for identical views, near 2 if
    the views of one image differ as much as different images do, at most 4. Useful values of lambda differ too.

    Args:
        mse_weight: The paper's lambda, at least 0. The paper gives no value; 0 leaves the cross entropies of two views.
        mse: 'absolute', the paper's, or 'relative'.
    """

    def __init__(self, mse_weight: float = 10.0, mse: str = 'absolute') -> None:
        super().__init__()
        if mse_weight < 0:
            raise ValueError(f'mse_weight (lambda) must be at least 0, got {mse_weight}')
        if mse not in ('absolute', 'relative'):
            raise ValueError(f"mse must be 'absolute' or 'relative', got {mse!r}")
        self.mse_weight, self.mse = mse_weight, mse

    def forward(
        self, cls_scores: Views, pooled: Views, labels: Tensor, criterion: Criterion = F.cross_entropy
    ) -> dict[str, Tensor]:
        if len(cls_scores) != 2 or len(pooled) != 2:
            got = f'{len(cls_scores)} and {len(pooled)}'
            raise ValueError(f'AugShift takes scores and pooled features as pairs, such as tensor.chunk(2); got {got}')
        first, second = pooled
        if first.ndim != 2 or first.shape != second.shape:
            shapes = f'{tuple(first.shape)} and {tuple(second.shape)}'
            raise ValueError(f'AugShift compares the pooled features (N, C) of two views, got shapes {shapes}')
        if self.mse_weight and cls_scores[0].requires_grad and not first.requires_grad:
            advice = 'take them without no_grad or detach, and set use_reentrant=False in gradient checkpointing'
            raise ValueError(f'the pooled features carry no gradient, so the distance would train nothing: {advice}')
        wide = torch.promote_types(first.dtype, torch.float32)  # float16 would round small distances to zero.
        distance = F.mse_loss(first.to(wide), second.to(wide))
        if self.mse == 'relative':
            if len(first) < 2:
                raise ValueError("mse='relative' needs at least 2 images per batch, got 1; set drop_last=True")
            variance = torch.cat((first, second)).float().var(0, correction=0).mean()
            distance = distance / variance.clamp_min(1e-18)  # its square is still a float32
        return {
            'loss_view1': criterion(cls_scores[0], labels),
            'loss_view2': criterion(cls_scores[1], labels),
            'loss_mse': self.mse_weight * distance,
        }
