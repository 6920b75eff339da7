"""A read-out that no order of the channels can change: the pooled features, sorted."""

from torch import Tensor, nn

from mmposenc.registry import MODELS

Features = Tensor | tuple[Tensor, ...]


@MODELS.register_module()
class SortedPoolNeck(nn.Module):
    """Global average pooling, then the channels sorted by value, largest first (ours; a bound for Sec. 3, Table 1).

    Sorting keeps everything about a pooled vector but which channel holds which value, and nothing else can be known
    behind `PermuteNeck`: what it gives for one order of the channels it gives for all. So this network, trained the
    same way, shows how much of PermuteNet's accuracy needs no channel at all, and how much PermuteNet loses to the
    noise of its random order. It stands where `PermuteNeck` stands.

    Shape:
        Input (N, C) or (N, C, H, W), or a tuple of such, of which the last is taken; output a tuple of one (N, C).

    Raises:
        ValueError: If the feature has neither two nor four dimensions.

    Example:
        >>> neck = dict(type='mmposenc.SortedPoolNeck')
    """

    def forward(self, inputs: Features) -> tuple[Tensor]:
        """Sort the pooled channels of each sample."""
        return (pooled(inputs, type(self).__name__).sort(dim=1, descending=True).values,)


def pooled(inputs: Features, name: str) -> Tensor:
    """The pooled vectors (N, C) of the last stage, in float32 (ours).

    Raises:
        ValueError: If the feature has neither two nor four dimensions.
    """
    features = inputs if isinstance(inputs, Tensor) else inputs[-1]
    if features.ndim not in (2, 4):
        raise ValueError(
            f'{name} takes features of shape (N, C) or (N, C, H, W), got {tuple(features.shape)}; '
            "a transformer backbone gives (N, C) with out_type='cls_token' or 'avg_featmap'"
        )
    return features.float() if features.ndim == 2 else features.float().mean((2, 3))
