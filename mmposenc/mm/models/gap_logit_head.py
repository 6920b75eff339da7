"""GAPNet's head: the logits are pooled, not the features."""

from mmcv.cnn import build_conv_layer
from mmpretrain.models import ClsHead
from torch import Tensor

from mmposenc.mm.models.padding_modes import conv_cfg_with_padding
from mmposenc.registry import MODELS


@MODELS.register_module()
class GAPLogitHead(ClsHead):
    """One 3x3 convolution to K channels, then global average pooling (Sec. 3, Fig. 1, GAPNet).

    The K pooled channels are the logits: no linear layer sees a pooled vector, so what the network says about position
    went through the pooling channel by channel. Losses and predictions are the host's. Behind a backbone, without neck.

    Args:
        num_classes: Channels of the convolution: grid_size * grid_size for location, the classes for category.
        in_channels: Channels of the backbone's last stage.
        padding_mode: Padding of the convolution by 1 px: 'zeros', 'reflect', 'replicate' or 'circular'. The same as the
            backbone's, so that one padding reaches the whole network.
        loss: As in `ClsHead`.
        topk: As in `ClsHead`.
        cal_acc: As in `ClsHead`.
        init_cfg: As in `ClsHead`. Default: normal weights with std 0.01, as `LinearClsHead` has.

    Shape:
        Input a tuple of features whose last is (N, in_channels, H, W), or that feature alone; output (N, num_classes).

    Raises:
        ValueError: If the padding mode is unknown, `num_classes` is below 1, or the feature is no map.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        padding_mode: str = 'zeros',
        loss: dict | None = None,
        topk: int | tuple[int, ...] = (1,),
        cal_acc: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            loss=loss or {'type': 'CrossEntropyLoss', 'loss_weight': 1.0},
            topk=topk,
            cal_acc=cal_acc,
            init_cfg=init_cfg or {'type': 'Normal', 'layer': 'Conv2d', 'std': 0.01},
        )
        if num_classes < 1:
            raise ValueError(f'num_classes must be at least 1, got {num_classes}')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.conv = build_conv_layer(
            conv_cfg_with_padding(padding_mode), in_channels, num_classes, kernel_size=3, padding=1, bias=True
        )

    def pre_logits(self, feats: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Return the feature map of the last stage."""
        maps = feats if isinstance(feats, Tensor) else feats[-1]
        if maps.ndim != 4:
            raise ValueError(
                f'GAPLogitHead pools logits, so it takes feature maps (N, C, H, W), got {tuple(maps.shape)}; '
                'remove the neck that pools before it'
            )
        return maps

    def forward(self, feats: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Return the pooled logits."""
        return self.conv(self.pre_logits(feats)).mean((2, 3))
