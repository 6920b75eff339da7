"""A network with an ASPP head of plain modules: the form of mmseg's ASPPHead, a few channels."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.activate = nn.ReLU(inplace=True)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.normal_(self.norm.bias)
        self.norm.running_mean.normal_(0, 0.3)
        self.norm.running_var.uniform_(0.5, 1.5)

    def forward(self, features: Tensor) -> Tensor:
        return self.activate(self.norm(self.conv(features)))


class TinyASPP(nn.Module):
    """C = 12 channels behind `stem`; branches of 5 channels with dilations 1, 2 and 3; 4 classes."""

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), Block(12, 5, 1))
        self.aspp_modules = nn.ModuleList([Block(12, 5, 1), Block(12, 5, 3, 2), Block(12, 5, 3, 3)])
        self.bottleneck = Block(20, 6, 3)
        if bias:
            self.bottleneck.conv.bias = nn.Parameter(torch.randn(6))
        self.cls_seg = nn.Conv2d(6, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        pooled = functional.interpolate(self.image_pool(features), features.shape[2:], mode='bilinear')
        branches = [module(features) for module in self.aspp_modules]
        return self.cls_seg(self.bottleneck(torch.cat([pooled, *branches], dim=1)))


def tiny_aspp(bias: bool = False) -> TinyASPP:
    torch.manual_seed(0)
    return TinyASPP(bias).eval()
