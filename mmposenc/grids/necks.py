"""Read-outs of Table 1: the pooled channels in a random order, sorted, or summed up."""

import torch
from torch import Tensor, nn

from mmposenc.layers import global_average_pool

Features = Tensor | tuple[Tensor, ...]


class _PoolNeck(nn.Module):
    def forward(self, inputs: Features) -> Features:
        """Pool the feature, or the last of a tuple, and read it."""
        features = inputs if isinstance(inputs, Tensor) else inputs[-1]
        if features.ndim not in (2, 4):
            got = f"{tuple(features.shape)}; a transformer gives (N, C) with out_type='cls_token' or 'avg_featmap'"
            raise ValueError(f'{type(self).__name__} takes features of shape (N, C) or (N, C, H, W), got {got}')
        z = self._read(global_average_pool(features))
        return z if isinstance(inputs, Tensor) else (z,)

    def _read(self, z: Tensor) -> Tensor:
        raise NotImplementedError


class PermuteNeck(_PoolNeck):
    """Global average pooling, then a random order of the channels (Sec. 3, Fig. 1, PermuteNet).

    If position is encoded in which channel answers, a linear read-out behind this neck cannot tell it, while content
    that survives pooling suffers far less. It pools by itself, so it replaces `GlobalAveragePooling` in one line.
    As in the authors' code one order is drawn per forward for the whole batch, in training and in testing, from the
    global random state.

    Shape:
        Input (N, C) or (N, C, H, W), output (N, C); of a tuple of such the last, as a tuple of one.
    """

    def _read(self, z: Tensor) -> Tensor:
        return z[:, torch.randperm(z.shape[1], device=z.device)]


class SortedPoolNeck(_PoolNeck):
    """Global average pooling, then the channels sorted by value, largest first (a control for Table 1).

    Sorting keeps all that can be known behind `PermuteNeck`: everything but which channel holds which value. Trained
    the same way, this network shows how much of PermuteNet's accuracy needs no channel at all, and how much PermuteNet
    loses to the noise of its random order. Shapes and errors are those of `PermuteNeck`.
    """

    def _read(self, z: Tensor) -> Tensor:
        return z.sort(dim=1, descending=True).values


class SumPoolNeck(_PoolNeck):
    """Global average pooling, then the sum over the channels, (N, 1) (a control for Table 1).

    Averaged over all orders of the channels, a linear layer sees only their sum; one number is enough for K lines to
    separate K intervals, which is why PermuteNet is above chance. The sum is not scaled: a step of the optimizer then
    moves the logits as far as it does behind `PermuteNeck`. Train it in float32; bfloat16 holds three digits.
    """

    def _read(self, z: Tensor) -> Tensor:
        return z.sum(dim=1, keepdim=True)
