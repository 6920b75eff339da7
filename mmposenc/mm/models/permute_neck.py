"""PermuteNet's random order of the pooled channels."""

import torch
from torch import Tensor, nn

from mmposenc.registry import MODELS

Features = Tensor | tuple[Tensor, ...]


@MODELS.register_module()
class PermuteNeck(nn.Module):
    """Global average pooling, then a random order of the channels (Sec. 3, Fig. 1, PermuteNet).

    If position is encoded in which channel answers, a linear read-out behind this neck cannot tell it, while content
    that survives pooling suffers far less. It pools by itself, so it replaces `GlobalAveragePooling` in one line.
    As in the authors' code one order is drawn per forward for the whole batch, in training and in testing. Each stage
    of a multi-stage feature gets an order of its own.

    Args:
        pool: Average (N, C, H, W) over H and W first. False keeps the maps, for a head that takes maps; a linear head
            behind it cannot (`mmposenc.HeadCheckHook` says so before training).
        per_sample: Draw an order for each sample of the batch instead of one for all (ours).
        test_time: Permute in testing too. False leaves the channels in order there (ours).
        seed: Seed of a generator of the neck's own: the same orders on every device, and the global random state is
            left alone. None draws from the global random state, on the device of the features.

    Shape:
        Input (N, C) or (N, C, H, W), or a tuple of such; output (N, C), or (N, C, H, W) with `pool=False`.

    Raises:
        ValueError: If a feature has neither two nor four dimensions.

    Example:
        >>> neck = dict(type='mmposenc.PermuteNeck')
    """

    def __init__(
        self, pool: bool = True, per_sample: bool = False, test_time: bool = True, seed: int | None = None
    ) -> None:
        super().__init__()
        self.pool = pool
        self.per_sample = per_sample
        self.test_time = test_time
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def forward(self, inputs: Features) -> Features:
        """Permute the channels of a feature, or of each feature of a tuple."""
        return tuple(self._one(x) for x in inputs) if isinstance(inputs, (tuple, list)) else self._one(inputs)

    def _one(self, features: Tensor) -> Tensor:
        if features.ndim not in (2, 4):
            raise ValueError(
                f'PermuteNeck takes features of shape (N, C) or (N, C, H, W), got {tuple(features.shape)}; '
                "a transformer backbone gives (N, C) with out_type='cls_token' or 'avg_featmap'"
            )
        if self.pool and features.ndim == 4:
            features = features.mean((2, 3))
        return self._permute(features) if self.training or self.test_time else features

    def _permute(self, features: Tensor) -> Tensor:
        number, channels = features.shape[:2]
        device = features.device if self.generator is None else torch.device('cpu')
        if not self.per_sample:
            order = torch.randperm(channels, generator=self.generator, device=device)
            return features.index_select(1, order.to(features.device))
        orders = torch.rand(number, channels, generator=self.generator, device=device).argsort(1).to(features.device)
        return features.gather(1, orders.view(*orders.shape, *(1,) * (features.ndim - 2)).expand_as(features))

    def extra_repr(self) -> str:
        seed = None if self.generator is None else self.generator.initial_seed()
        return f'pool={self.pool}, per_sample={self.per_sample}, test_time={self.test_time}, seed={seed}'
