"""A read-out that sees one number: the sum of all pooled features."""

from torch import Tensor, nn

from mmposenc.mm.models.sorted_pool_neck import Features, pooled
from mmposenc.registry import MODELS


@MODELS.register_module()
class SumPoolNeck(nn.Module):
    """Global average pooling, then the sum over the channels (ours; a bound for Sec. 3, Table 1).

    Averaged over all orders of the channels, a linear layer sees only their sum: the mean of W z over the orders is
    the mean row weight of W times the sum of z. One number is enough for K lines to separate K intervals, which is why
    PermuteNet is above chance. The sum is not scaled: a step of the optimizer then moves the logits as far as it does
    behind `PermuteNeck`. Train it in float32, since bfloat16 holds a number to three digits.

    Shape:
        Input (N, C) or (N, C, H, W), or a tuple of such, of which the last is taken; output a tuple of one (N, 1).

    Raises:
        ValueError: If the feature has neither two nor four dimensions.

    Example:
        >>> neck, head = dict(type='mmposenc.SumPoolNeck'), dict(type='LinearClsHead', in_channels=1, num_classes=9)
    """

    def forward(self, inputs: Features) -> tuple[Tensor]:
        """Sum the pooled channels of each sample."""
        return (pooled(inputs, type(self).__name__).sum(dim=1, keepdim=True),)
