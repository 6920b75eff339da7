"""Read-outs of Table 1: the pooled channels in a random order, sorted, or summed up."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmposenc.layers import global_average_pool

Features = Tensor | tuple[Tensor, ...]


class PermuteNeck(nn.Module):
    """Global average pooling, then a random order of the channels (Sec. 3, Fig. 1, PermuteNet).

    If position is encoded in which channel answers, a linear read-out behind this neck cannot tell it, while content
    that survives pooling suffers far less. It pools by itself, so it replaces `GlobalAveragePooling` in one line.
    As in the authors' code one order is drawn per forward for the whole batch, in training and in testing, from the
    global random state.

    Shape:
        Input (N, C) or (N, C, H, W), output (N, C); of a tuple of such the last is taken, and the output is a tuple of
        one.

    Raises:
        ValueError: If the feature has neither two nor four dimensions.

    Example:
        >>> neck = dict(type='mmposenc.PermuteNeck')
    """

    def forward(self, inputs: Features) -> Features:
        """Shuffle the pooled channels, the same way for all samples."""
        return _pooled(self, inputs, lambda z: z[:, torch.randperm(z.shape[1], device=z.device)])


class SortedPoolNeck(nn.Module):
    """Global average pooling, then the channels sorted by value, largest first (a bound for Table 1).

    Sorting keeps everything about a pooled vector but which channel holds which value, and nothing else can be known
    behind `PermuteNeck`: what it gives for one order of the channels it gives for all. So this network, trained the
    same way, shows how much of PermuteNet's accuracy needs no channel at all, and how much PermuteNet loses to the
    noise of its random order. It stands where `PermuteNeck` stands; shapes and errors are the same.

    Example:
        >>> neck = dict(type='mmposenc.SortedPoolNeck')
    """

    def forward(self, inputs: Features) -> Features:
        """Sort the pooled channels of each sample."""
        return _pooled(self, inputs, lambda z: z.sort(dim=1, descending=True).values)


class SumPoolNeck(nn.Module):
    """Global average pooling, then the sum over the channels, (N, 1) (a bound for Table 1).

    Averaged over all orders of the channels, a linear layer sees only their sum: the mean of W z over the orders is
    the mean row weight of W times the sum of z. One number is enough for K lines to separate K intervals, which is why
    PermuteNet is above chance. The sum is not scaled: a step of the optimizer then moves the logits as far as it does
    behind `PermuteNeck`. Train it in float32, since bfloat16 holds a number to three digits.

    Example:
        >>> neck, head = dict(type='mmposenc.SumPoolNeck'), dict(type='LinearClsHead', in_channels=1, num_classes=9)
    """

    def forward(self, inputs: Features) -> Features:
        """Sum the pooled channels of each sample."""
        return _pooled(self, inputs, lambda z: z.sum(dim=1, keepdim=True))


def _pooled(neck: nn.Module, inputs: Features, read: Callable[[Tensor], Tensor]) -> Features:
    features = inputs if isinstance(inputs, Tensor) else inputs[-1]
    if features.ndim not in (2, 4):
        raise ValueError(
            f'{type(neck).__name__} takes features of shape (N, C) or (N, C, H, W), got {tuple(features.shape)}; '
            "a transformer backbone gives (N, C) with out_type='cls_token' or 'avg_featmap'"
        )
    z = read(global_average_pool(features))
    return z if isinstance(inputs, Tensor) else (z,)
