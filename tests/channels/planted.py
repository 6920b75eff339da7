"""A network whose right ranking is known by hand, and images with one bright column."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from mmposenc.ranking import Ranking


class CoordinateMaps(nn.Module):
    """Brightness times five maps: x, 1 - x, |x - 1/2| (even in x), y, and 1, with x and y from 0 to 1."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        x = torch.linspace(0, 1, width, dtype=images.dtype).expand(height, width)
        y = torch.linspace(0, 1, height, dtype=images.dtype)[:, None].expand(height, width)
        maps = torch.stack([x, 1 - x, (x - 0.5).abs(), y, torch.ones_like(x)])
        return images.mean(1, keepdim=True) * maps


class PlantedNet(nn.Module):
    """CoordinateMaps under `body.maps`, a tuple of two under `body`, then GAP and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = PlantedBody()
        self.neck = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(5, 2)
        self.idle = nn.Conv2d(3, 1, 3)  # a kernel to mirror, which changes nothing

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.neck(self.body(images)[-1]).flatten(1))


class PlantedBody(nn.Module):
    """Gives (images, maps), as mmseg's backbones give one tensor per stage."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = CoordinateMaps()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, self.maps(images)


def planted_net() -> PlantedNet:
    torch.manual_seed(0)
    return PlantedNet().double().eval()


def lit_columns(*columns: int) -> Tensor:
    """Images (len(columns), 3, 1, 5) with one bright column each, whose mean brightness is 1."""
    images = torch.zeros(len(columns), 3, 1, 5, dtype=torch.float64)
    for image, column in zip(images, columns, strict=True):
        image[..., column] = 5
    return images


class Replicas(nn.DataParallel):
    """Runs the network in two threads, as `DataParallel` runs copies on two devices: both have the same hooks."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        with ThreadPoolExecutor(2) as threads:
            return torch.cat([*threads.map(self.module, images.chunk(2))])


def some_ranking(scores: Iterable[float], **entries: Any) -> Ranking:
    """A ranking by scores; `entries` replace the others."""
    entries = {'layer': 'body.maps', 'statistic': 'abs', 'pair': 'flip_image', 'num_images': 1, **entries}
    return Ranking(scores=list(map(float, scores)), **entries)
