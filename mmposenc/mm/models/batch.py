"""Whole batches on their device: the preprocessor, and the transforms of flips, shifts and two views.

Transforms take and return the batch as a dict. `inputs` is a normalised float tensor (B, C, H, W), so a fill of zero is
the mean colour; behind `BatchTwoViews` it is a list of two.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch import Tensor

from mmposenc.registry import MODELS, TRANSFORMS
from mmposenc.shifts.shift import check_fill, random_shift

Batch = dict
Transforms = Sequence[dict | Callable[[Batch], Batch]]


@TRANSFORMS.register_module()
class BatchRandomFlip:
    """Mirror each image with probability `prob` (Sec. 4.1: shared by both views when it comes before them).

    `direction` is 'horizontal', left-right, or 'vertical', as in mmcv. Modifies `inputs`.
    """

    def __init__(self, prob: float = 0.5, direction: str = 'horizontal') -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must lie in [0, 1], got {prob}')
        if direction not in ('horizontal', 'vertical'):
            raise ValueError(f'direction must be horizontal or vertical, got {direction!r}')
        self.prob, self.dim = prob, -1 if direction == 'horizontal' else -2

    def __call__(self, batch: Batch) -> Batch:
        images = batch['inputs']
        flipped = torch.rand(len(images), 1, 1, 1, device=images.device) < self.prob
        return {**batch, 'inputs': torch.where(flipped, images.flip(self.dim), images)}


@TRANSFORMS.register_module()
class BatchRandomShift:
    """Move each image by a random offset of its own, up to `max_shift` px in each axis (Sec. 4.1).

    The random crop of a padded image. Modifies `inputs`; `fill` is what moves in, as in `mmposenc.shifts.shift_images`.
    """

    def __init__(self, max_shift: int = 8, fill: str = 'zero') -> None:
        if max_shift < 1:
            raise ValueError(f'max_shift must be at least 1 px, got {max_shift}; leave the transform out for no shift')
        check_fill(fill)
        self.max_shift, self.fill = max_shift, fill

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, 'inputs': random_shift(batch['inputs'], self.max_shift, self.fill)}


@TRANSFORMS.register_module()
class BatchTwoViews:
    """Two independently transformed views of each image (Fig. 2): the batch counterpart of mmpretrain's `MultiView`.

    `inputs` becomes a list of two tensors. `transforms`, configs or callables, run once per view; what stands before
    this one in a list of transforms is shared by both.
    """

    def __init__(self, transforms: Transforms) -> None:
        self.transforms = _build(transforms)

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, 'inputs': [_run(self.transforms, batch)['inputs'] for _ in range(2)]}


@MODELS.register_module()
class BatchPreprocessor(ClsDataPreprocessor):
    """mmpretrain's preprocessor, for whole batches and for several views too.

    A whole batch (`inputs` (B, 3, H, W) uint8, `labels` (B,), `indices` (B,), see `mmposenc.mm.datasets`) goes to the
    device as uint8 and is normalised and transformed there, to float32. In training ONE data sample holds all labels,
    as mmpretrain's heads concatenate them anyway; where labels are mixed, one sample per image carries its score.
    Samples of an ordinary pipeline go through mmpretrain's code, each view by itself.

    Args:
        train_transforms, test_transforms: Of a whole batch in training, and in validation and testing.
        channels_last: Give the model channels_last inputs, which eager convolutions on a GPU prefer.
        **kwargs: Those of mmpretrain's `ClsDataPreprocessor`. Padding is for single samples only; whole batches are
            RGB already, so leave out `to_rgb`; `batch_augments` (Mixup, CutMix) come after `train_transforms`, and
            need `num_classes`, as does `to_onehot`.
    """

    def __init__(
        self,
        train_transforms: Transforms = (),
        test_transforms: Transforms = (),
        channels_last: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.train_transforms, self.test_transforms = _build(train_transforms), _build(test_transforms)
        self.channels_last = channels_last

    def forward(self, data: Batch, training: bool = False) -> Batch:
        """Return `dict(inputs, data_samples)` for either kind of data."""
        prepared = self._whole_batch(data, training) if 'labels' in data else self._samples(data, training)
        if self.channels_last:
            inputs, layout = prepared['inputs'], torch.channels_last
            several = [view.contiguous(memory_format=layout) for view in inputs] if isinstance(inputs, list) else None
            prepared['inputs'] = several or inputs.contiguous(memory_format=layout)
        return prepared

    def _samples(self, data: Batch, training: bool) -> Batch:
        if self.train_transforms if training else self.test_transforms:
            got = 'got samples of a pipeline: put them there (two views: MultiView)'
            stage, advice = 'train' if training else 'test', 'use a data set of mmposenc with mmposenc.pass_batch'
            raise ValueError(f'{stage}_transforms act on whole batches, {got}, or {advice}')
        inputs = data['inputs']
        if not isinstance(inputs, (list, tuple)) or (isinstance(inputs[0], Tensor) and inputs[0].ndim == 3):
            return super().forward(data, training)
        self._check_one_view(training)
        views = [super(BatchPreprocessor, self).forward({**data, 'inputs': view}, training) for view in inputs]
        return {'inputs': [view['inputs'] for view in views], 'data_samples': views[0]['data_samples']}

    def _whole_batch(self, data: Batch, training: bool) -> Batch:
        if self.pad_size_divisor > 1:
            raise ValueError(f'pad_size_divisor must be 1 for whole batches, got {self.pad_size_divisor}')
        batch = {key: value.to(self.device, non_blocking=True) for key, value in data.items()}
        images = batch['inputs'].flip(1) if self.to_rgb else batch['inputs']
        images = images.to(torch.float32, copy=True)
        batch['inputs'] = images.sub_(self.mean).div_(self.std) if self._enable_normalize else images
        batch = _run(self.train_transforms if training else self.test_transforms, batch)
        inputs, labels = batch['inputs'], batch['labels']
        if training and not self.to_onehot:
            return {'inputs': inputs, 'data_samples': [DataSample().set_gt_label(labels)]}
        pairs = zip(batch['indices'].tolist(), labels, strict=True)
        samples = [DataSample(metainfo={'sample_idx': index}).set_gt_label(label) for index, label in pairs]
        if self.to_onehot:
            if self.num_classes is None:
                raise ValueError('to_onehot and batch_augments (Mixup, CutMix) need num_classes in data_preprocessor')
            scores = F.one_hot(labels, self.num_classes).float()
            if training and self.batch_augments is not None:
                self._check_one_view(not isinstance(inputs, Tensor))
                inputs, scores = self.batch_augments(inputs, scores)
            for sample, score in zip(samples, scores, strict=True):
                sample.set_gt_score(score)
        return {'inputs': inputs, 'data_samples': samples}

    def _check_one_view(self, is_several: bool) -> None:
        if is_several and self.batch_augments is not None:
            raise ValueError('batch_augments mix the labels of one view, got several views: leave them out')


def _build(transforms: Transforms) -> list[Callable[[Batch], Batch]]:
    return [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in transforms]


def _run(transforms: Sequence[Callable[[Batch], Batch]], batch: Batch) -> Batch:
    return reduce(lambda done, transform: transform(done), transforms, batch)
