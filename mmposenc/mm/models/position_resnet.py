"""The backbone of Table 1."""

from mmpretrain.models import ResNet
from torch import nn

from mmposenc.mm.models.padding_modes import conv_cfg_with_padding
from mmposenc.registry import MODELS


@MODELS.register_module()
class PositionResNet(ResNet):
    """ResNet with a 7x7 stride-2 stem, no max-pool, and one padding for every convolution (Table 1).

    mmpretrain's ResNet otherwise: at 96x96 px (a 3x3 grid) the last stage of ResNet-18 is 6x6. As in the authors' code
    the last normalisation of a block starts at one, not zero. Differs from the authors' code: the weights start from
    the host's Kaiming normal.

    Args:
        depth: 18, 34, 50, 101 or 152. Default 18, the paper's.
        padding_mode: 'zeros', 'reflect', 'replicate' (Table 1) or 'circular' (ours).
        zero_init_residual: Start the last normalisation of each block at zero. Default False, the authors' code.
        conv_cfg: Config of the convolutions, without the padding mode.
        **kwargs: Other arguments of mmpretrain's `ResNet`, which rejects what it does not know.

    Shape:
        Input (N, 3, H, W); output a tuple of the stages in `out_indices`, by default the last, at stride 16.

    Raises:
        ValueError: If the padding mode is unknown.
    """

    def __init__(
        self,
        depth: int = 18,
        padding_mode: str = 'zeros',
        zero_init_residual: bool = False,
        conv_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(
            depth,
            conv_cfg=conv_cfg_with_padding(padding_mode, conv_cfg),
            zero_init_residual=zero_init_residual,
            **kwargs,
        )

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        self.maxpool = nn.Identity()
