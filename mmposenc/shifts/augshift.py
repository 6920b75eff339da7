"""AugShift's training objective (Eq. 1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmposenc.registry import MODELS


@MODELS.register_module()
class AugShiftLoss(nn.Module):
    """Two cross entropies and the distance of the pooled features of two views (Eq. 1).

    loss = CE(s1, y) + CE(s2, y) + lambda * MSE(z1, z2). The mean squared error runs over batch and channels and neither
    side is detached. The three terms come back by name, so that the log shows each and the host adds them up.

    Args:
        mse_weight: The paper's lambda, at least 0. The paper gives no value; 10 is ours. 0 leaves the cross entropies
            of two views: the control.

    Shape:
        cls_scores: two of (N, K); pooled: two of (N, C); labels (N,); each returned term is a scalar.

    Raises:
        ValueError: If `mse_weight` is negative.
    """

    def __init__(self, mse_weight: float = 10.0) -> None:
        super().__init__()
        if mse_weight < 0:
            raise ValueError(f'mse_weight (lambda) must be at least 0, got {mse_weight}')
        self.mse_weight = mse_weight

    def forward(
        self, cls_scores: tuple[Tensor, Tensor], pooled: tuple[Tensor, Tensor], labels: Tensor
    ) -> dict[str, Tensor]:
        return {
            'loss_view1': F.cross_entropy(cls_scores[0], labels),
            'loss_view2': F.cross_entropy(cls_scores[1], labels),
            'loss_mse': self.mse_weight * F.mse_loss(pooled[0], pooled[1]),
        }

    def extra_repr(self) -> str:
        return f'mse_weight={self.mse_weight}'
