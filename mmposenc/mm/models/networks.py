"""Networks of Table 1 and 2 as registered parts: canvases of a batch, GAPNet's head, backbones, and the necks."""

from typing import Any

import torch
from mmcv.cnn import build_conv_layer
from mmpretrain.models import ClsHead, ResNet
from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from mmposenc.grids.canvas import place_on_grid
from mmposenc.grids.necks import PermuteNeck, SortedPoolNeck, SumPoolNeck
from mmposenc.registry import MODELS, TRANSFORMS

for _neck in (PermuteNeck, SortedPoolNeck, SumPoolNeck):
    MODELS.register_module(module=_neck)


@TRANSFORMS.register_module()
class BatchPlaceOnGrid:
    """Put each patch of a batch into one cell of an n x n grid (Sec. 3, Fig. 1).

    As in the authors' code it works on normalised patches, and a flip before it mirrors the patch.

    Required Keys: inputs (B, C, h, w); labels; grid, with the attributes grid_size and task, as `GridCIFAR10` gives it;
    cells (optional, drawn uniformly without it). Modified Keys: inputs (B, C, grid_size * h, grid_size * w); labels
    (the cells, for task 'location'). Added Keys: cells.
    """

    def __call__(self, batch: dict) -> dict:
        if 'grid' not in batch:
            got = f'the keys {sorted(batch)}; use a data set such as mmposenc.GridCIFAR10'
            raise ValueError(f'BatchPlaceOnGrid needs a batch that names its grid, got {got}')
        patches, grid, cells = batch['inputs'], batch['grid'], batch.get('cells')
        if cells is None:
            cells = torch.randint(grid.grid_size**2, (len(patches),), device=patches.device)
        labels = cells if grid.task == 'location' else batch['labels']
        canvas = place_on_grid(patches, cells, grid.grid_size)
        return {**batch, 'inputs': canvas, 'labels': labels, 'cells': cells}


@MODELS.register_module()
class PositionResNet(ResNet):
    """ResNet with a 7x7 stride-2 stem, no max-pool, and one padding for every convolution (Table 1).

    mmpretrain's ResNet otherwise, at stride 16: at 96x96 px (a 3x3 grid) the last stage of ResNet-18 is 6x6. As in the
    authors' code the last normalisation of a block starts at one, not zero. Differs from the authors' code: the weights
    start from mmpretrain's Kaiming normal.

    Args:
        depth: 18, 34, 50, 101 or 152. Default 18, the paper's.
        padding_mode: 'zeros', 'reflect', 'replicate' (Table 1) or 'circular'.
        **kwargs: Other arguments of mmpretrain's `ResNet`.
    """

    def __init__(
        self, depth: int = 18, padding_mode: str = 'zeros', zero_init_residual: bool = False, **kwargs
    ) -> None:
        conv_cfg = dict(type='Conv2d', padding_mode=padding_mode)
        super().__init__(depth, conv_cfg=conv_cfg, zero_init_residual=zero_init_residual, **kwargs)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        self.maxpool = nn.Identity()


@MODELS.register_module()
class BlurPoolResNetCIFAR(ResNet_CIFAR):
    """mmpretrain's `ResNet_CIFAR` with a blur before every subsampling (Table 2, "BlurPool").

    After Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019: a strided convolution becomes a dense
    one, and timm's `BlurPool2d`, `filt_size` px wide, takes the stride behind the ReLU that follows; in a shortcut it
    stands before the 1x1 convolution.
    """

    def __init__(self, filt_size: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        try:
            from timm.layers import BlurPool2d
        except ImportError as error:
            raise ImportError('BlurPoolResNetCIFAR takes its blur from timm; run: pip install timm') from error
        for block in self.modules():
            if not isinstance(block, BasicBlock | Bottleneck) or block.stride == 1:
                continue
            first = isinstance(block, BasicBlock) or block.style == 'caffe'
            strided, following = ('conv1', 'conv2') if first else ('conv2', 'conv3')
            getattr(block, strided).stride = block.downsample[0].stride = (1, 1)
            for part, name in ((block, following), (block.downsample, '0')):
                conv = getattr(part, name)
                setattr(part, name, nn.Sequential(BlurPool2d(conv.in_channels, filt_size, block.stride), conv))


@MODELS.register_module()
class GAPLogitHead(ClsHead):
    """One 3x3 convolution to K channels, then global average pooling (Sec. 3, Fig. 1, GAPNet).

    The K pooled channels are the logits: no linear layer sees a pooled vector, so what the network says about position
    went through the pooling channel by channel. Losses, predictions and other arguments are those of mmpretrain's
    `ClsHead`. Behind a backbone, without neck: takes (N, in_channels, H, W), or a tuple that ends with it.

    Args:
        num_classes: Channels of the convolution: grid_size * grid_size for location, the classes for category.
        padding_mode: Of the convolution, the same as the backbone's so that one padding reaches the whole network.
        init_cfg: Default: normal weights with std 0.01, as `LinearClsHead` has.
    """

    def __init__(
        self, num_classes: int, in_channels: int, padding_mode: str = 'zeros', init_cfg: dict | None = None, **kwargs
    ) -> None:
        super().__init__(init_cfg=init_cfg or {'type': 'Normal', 'layer': 'Conv2d', 'std': 0.01}, **kwargs)
        self.num_classes, self.in_channels = num_classes, in_channels
        conv_cfg = dict(type='Conv2d', padding_mode=padding_mode)
        self.conv = build_conv_layer(conv_cfg, in_channels, num_classes, 3, padding=1)

    def pre_logits(self, feats: Tensor | tuple[Tensor, ...]) -> Tensor:
        """The feature map of the last stage."""
        maps = feats if isinstance(feats, Tensor) else feats[-1]
        if maps.ndim != 4:
            got = f'{tuple(maps.shape)}; remove the neck that pools before it'
            raise ValueError(f'GAPLogitHead pools logits, so it takes feature maps (N, C, H, W), got {got}')
        return maps

    def forward(self, feats: Tensor | tuple[Tensor, ...]) -> Tensor:
        """The pooled logits."""
        return self.conv(self.pre_logits(feats)).mean((2, 3))
