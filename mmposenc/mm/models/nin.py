"""Network in Network, the second architecture that Sec. 3 names."""

from mmcv.cnn import ConvModule
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn

from mmposenc.mm.models.padding_modes import conv_cfg_with_padding
from mmposenc.registry import MODELS

# Kernel width and output channels of the convolutions of each stage, as in Lin et al., 2014, for CIFAR.
STAGES = (((5, 192), (1, 160), (1, 96)), ((5, 192), (1, 192), (1, 192)), ((3, 192), (1, 192)))


@MODELS.register_module()
class NIN(BaseBackbone):
    """Network in Network for CIFAR up to its last 192 channels (Lin et al., ICLR 2014; named in Sec. 3).

    Its own last layer, a 1x1 convolution to the classes followed by pooling, is the head's job: `GAPLogitHead` or a
    pooling neck with a linear head. Pooling layers do not pad, so only the convolutions can see the border.
    Differs from Lin et al.: batch normalisation (`norm_cfg=None` takes it out).

    Args:
        in_channels: Channels of the image.
        padding_mode: 'zeros', 'reflect', 'replicate' or 'circular', of every convolution.
        conv_cfg: Config of the convolutions, without the padding mode.
        norm_cfg: Config of the normalisation layers; None for none. Default batch normalisation.
        dropout: Probability of a zero behind each of the first two stages. Default 0.5, as in Lin et al.
        out_indices: Stages to give out, 0 to 2. Default the last.
        init_cfg: As in mmengine's `BaseModule`. Default Kaiming normal.

    Shape:
        Input (N, in_channels, H, W), H and W at least 8 px; output a tuple of the stages in `out_indices`:
        (N, 96, H, W), (N, 192, H/2, W/2), (N, 192, H/4, W/4), before the pooling and dropout that follow a stage.

    Raises:
        ValueError: If the padding mode is unknown or an index of `out_indices` is no stage.
    """

    def __init__(
        self,
        in_channels: int = 3,
        padding_mode: str = 'zeros',
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = {'type': 'BN'},  # noqa: B006 (the hosts' form; never changed)
        dropout: float = 0.5,
        out_indices: tuple[int, ...] = (2,),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or {'type': 'Kaiming', 'layer': 'Conv2d'})
        if not out_indices or not set(out_indices) <= set(range(len(STAGES))):
            raise ValueError(f'out_indices must be among 0, 1, 2, the stages of NIN, got {tuple(out_indices)}')
        self.out_indices = tuple(out_indices)
        conv_cfg = conv_cfg_with_padding(padding_mode, conv_cfg)
        self.stages = nn.ModuleList()
        for layers in STAGES:
            stage = nn.Sequential()
            for kernel, channels in layers:
                conv = ConvModule(
                    in_channels, channels, kernel, padding=kernel // 2, conv_cfg=conv_cfg, norm_cfg=norm_cfg
                )
                stage.append(conv)
                in_channels = channels
            self.stages.append(stage)
        self.pools = nn.ModuleList(
            nn.Sequential(pool, nn.Dropout(dropout))
            for pool in (nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, ceil_mode=True))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the stages in `out_indices`."""
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
            if i < len(self.pools):
                x = self.pools[i](x)
        return tuple(outs)
