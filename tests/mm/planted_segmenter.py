"""Segmenters of mmseg whose right ranking is known by hand, under heads of three families, and a runner for them."""

from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS, init_default_scope
from mmengine.runner import Runner
from mmseg.models import EncoderDecoder
from planted import CoordinateMaps
from torch import Tensor, nn

HEADS = {
    'fcn': dict(type='FCNHead', in_channels=5, in_index=-1, channels=4, num_convs=1),
    'uper': dict(type='UPerHead', in_channels=[5, 5], in_index=[0, 1], channels=4, pool_scales=(1, 2)),
    'aspp': dict(type='ASPPHead', in_channels=5, in_index=-1, channels=4, dilations=(1, 2)),
}

_runs = count()


class PlantedBackbone(CoordinateMaps):
    """The maps of channels whose ranking is known by hand; the first of the two stages is noise."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = super().forward(images.cpu()).to(images.device)
        return images.mean(1, keepdim=True).sin().expand(-1, 5, -1, -1), maps


def make_segmenter(head: str = 'fcn', test_cfg: dict | None = None) -> EncoderDecoder:
    """A segmenter of two classes in evaluation mode, pixels taken as they are."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    preprocessor = dict(type='SegDataPreProcessor', mean=[0.0] * 3, std=[1.0] * 3)
    decode_head = {**HEADS[head], 'num_classes': 2, 'loss_decode': dict(type='CrossEntropyLoss')}
    test_cfg = ConfigDict(test_cfg or {'mode': 'whole'})
    model = EncoderDecoder(dict(type=PlantedBackbone), decode_head, data_preprocessor=preprocessor, test_cfg=test_cfg)
    for parameter in model.decode_head.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return model.eval()


def lit_columns(folder: Path, *columns: int, width: int = 5) -> dict:
    """A data set of images 5 px high, black but for one column of brightness 250."""
    images = np.zeros((len(columns), 5, width, 3), np.uint8)
    for image, column in zip(images, columns, strict=True):
        image[:, column] = 250
    return write_images(folder, images, images[..., 0] // 250, ['dark', 'lit'])


def write_images(folder: Path, images: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict:
    """A data set of images (N, H, W, 3) and labels (N, H, W)."""
    for name, maps in (('images', images), ('labels', labels)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index, pixels in enumerate(maps):
            cv2.imwrite(str(folder / name / f'{index}.png'), pixels)
    files = dict(data_root=str(folder), data_prefix=dict(img_path='images', seg_map_path='labels'), img_suffix='.png')
    pipeline = [dict(type=kind) for kind in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')]
    metainfo = dict(classes=classes, palette=[[0] * 3] * len(classes))
    return dict(type='BaseSegDataset', metainfo=metainfo, pipeline=pipeline, **files)


@METRICS.register_module(force=True)
class LogitsMetric(BaseMetric):
    """Keeps the logits of every image, a classifier's after its softmax."""

    default_prefix = 'kept'

    def __init__(self) -> None:
        super().__init__()
        self.logits: list[Tensor] = []

    def process(self, data_batch: Any, data_samples: Any) -> None:
        for sample in data_samples:
            self.logits.append(sample['seg_logits']['data'] if 'seg_logits' in sample else sample['pred_score'])
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict:
        return {'images': float(len(results))}


def make_runner(model: nn.Module, dataset: dict, work_dir: Path, **options: Any) -> Runner:
    """A runner for tests of a model; `options` replace its arguments."""
    loader = dict(batch_size=2, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
    test = dict(test_dataloader=loader, test_cfg=dict(), test_evaluator=[LogitsMetric()], default_scope='mmseg')
    return Runner(model, str(work_dir / 'work'), experiment_name=f'run{next(_runs)}', **{**test, **options})


def number_of_hooks(model: nn.Module) -> int:
    """How many forward hooks there are anywhere in a model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
