"""Read-outs of pooled channels in their order, shuffled and sorted, side by side at every stage of a backbone."""

from collections.abc import Sequence

import torch
from mmcv.cnn import build_conv_layer
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmposenc.mm.models.padding_modes import conv_cfg_with_padding
from mmposenc.mm.models.permute_neck import PermuteNeck
from mmposenc.mm.models.sorted_pool_neck import SortedPoolNeck
from mmposenc.registry import MODELS


@MODELS.register_module()
class StageReadoutHead(BaseModule):
    """Reads the class three times at each stage: pooled logits, pooled channels shuffled, and sorted (Sec. 3, Fig. 1).

    `gap` is GAPNet's read-out, a 3x3 convolution to K channels and global average pooling; `permute` is PermuteNet's,
    pooling, a random order of the channels and a linear layer; `sort` (ours) has the channels sorted by value, so that
    it sees all that no order changes. The losses are summed, and since no parameter is shared each read-out trains as
    if alone. Behind a frozen backbone (`LocationProbe`) the stages stay apart, too.
    Differs from GAPNet: the convolution pads circularly. Pooled, it is then a linear layer on the pooled channels, and
    what it tells of position was in them; zero padding of its own would let it measure the distance to the border.

    Args:
        num_classes: Outputs K of each read-out: grid_size * grid_size for location.
        in_channels: Channels of each stage.
        names: A name of each stage, for losses and figures. Default stage1, stage2, ...
        padding_mode: Padding of the 3x3 convolution: 'circular', or 'zeros' (GAPNet's), 'reflect', 'replicate'.
        init_cfg: As in mmengine's `BaseModule`. Default: normal weights with std 0.01, as `LinearClsHead` has.

    Shape:
        Input one map (N, C, H, W) per stage; output a dict of (N, num_classes), its keys 'stage1/gap',
        'stage1/permute', 'stage1/sort' and so on.

    Raises:
        ValueError: If the stages are not as many as names, or not maps.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int],
        names: Sequence[str] | None = None,
        padding_mode: str = 'circular',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or {'type': 'Normal', 'layer': ['Conv2d', 'Linear'], 'std': 0.01})
        if num_classes < 1:
            raise ValueError(f'num_classes must be at least 1, got {num_classes}')
        self.num_classes = num_classes
        self.names = tuple(names or (f'stage{i + 1}' for i in range(len(in_channels))))
        if len(self.names) != len(in_channels):
            raise ValueError(f'names must name {len(in_channels)} stages, got {", ".join(self.names)}')
        conv_cfg = conv_cfg_with_padding(padding_mode)
        self.gap = nn.ModuleList(
            build_conv_layer(conv_cfg, c, num_classes, kernel_size=3, padding=1) for c in in_channels
        )
        self.permute, self.sort = (nn.ModuleList(nn.Linear(c, num_classes) for c in in_channels) for _ in range(2))
        self.shuffled, self.sorted = PermuteNeck(), SortedPoolNeck()

    def forward(self, stages: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the logits of each read-out."""
        logits = {}
        for place, (name, stage) in enumerate(zip(self.names, stages, strict=True)):
            logits[f'{name}/gap'] = self.gap[place](stage).mean((2, 3))
            logits[f'{name}/permute'] = self.permute[place](self.shuffled(stage))
            logits[f'{name}/sort'] = self.sort[place](self.sorted(stage)[0])
        return logits

    def loss(self, stages: Sequence[Tensor], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Return one cross entropy per read-out; the host sums them."""
        labels = torch.cat([sample.gt_label for sample in data_samples])
        logits = self(stages)
        return {f'{name}/loss': nn.functional.cross_entropy(score, labels) for name, score in logits.items()}

    def predict(self, stages: Sequence[Tensor], data_samples: list[DataSample] | None = None) -> list[DataSample]:
        """Return samples whose `readouts` holds the predicted class of each read-out."""
        logits = self(stages)
        rows = torch.stack([score.argmax(1) for score in logits.values()], dim=1).tolist()
        samples = data_samples or [DataSample() for _ in rows]
        for sample, row in zip(samples, rows, strict=True):
            sample.set_field(dict(zip(logits, row, strict=True)), 'readouts')
        return samples
