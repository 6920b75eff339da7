"""From what the data loader gives to what the model takes, for whole batches and for single samples."""

from collections.abc import Callable, Sequence

import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch import Tensor

from mmposenc.mm.models.batch_transforms import build_batch_transforms
from mmposenc.registry import MODELS


@MODELS.register_module()
class BatchPreprocessor(ClsDataPreprocessor):
    """mmpretrain's preprocessor, for whole batches and for several views too (ours).

    A whole batch (`dict(inputs, labels, indices)`, made by one gather, see `mm.datasets`) goes to the device as
    uint8, is normalised there and then transformed there; no object is made per sample on the way to the loss. In
    training the labels travel as ONE data sample that holds them all, which the hosts' heads concatenate as they do
    many. Samples of an ordinary per-sample pipeline go through the host's code, each view by itself.

    Args:
        train_transforms: Batch transforms (`mmposenc.mm.models.batch_transforms`) of a whole batch in training.
        test_transforms: The same in validation and testing.
        channels_last: Give the model channels_last inputs, which eager convolutions on a GPU prefer.
        mean: Pixel mean of the three channels, 0-255.
        std: Pixel standard deviation of the three channels, 0-255.
        to_rgb: Swap the channels' order first. Whole batches of `mmposenc.mm.datasets` are RGB already.
        pad_size_divisor: Of the host's per-sample path.
        pad_value: Of the host's per-sample path.
        to_onehot: Of the host's per-sample path.
        num_classes: Of the host's per-sample path.
        batch_augments: Of the host's per-sample path, one view.

    Shape:
        Whole batch: inputs (B, 3, H, W) uint8, labels (B,), indices (B,); output inputs (B, 3, H, W) float32, or a
        list of two such tensors.
    """

    def __init__(
        self,
        train_transforms: Sequence[dict | Callable[[dict], dict]] = (),
        test_transforms: Sequence[dict | Callable[[dict], dict]] = (),
        channels_last: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        to_rgb: bool = False,
        pad_size_divisor: int = 1,
        pad_value: float = 0,
        to_onehot: bool = False,
        num_classes: int | None = None,
        batch_augments: dict | None = None,
    ) -> None:
        super().__init__(mean, std, pad_size_divisor, pad_value, to_rgb, to_onehot, num_classes, batch_augments)
        self.train_transforms = build_batch_transforms(train_transforms)
        self.test_transforms = build_batch_transforms(test_transforms)
        self.channels_last = channels_last

    def forward(self, data: dict, training: bool = False) -> dict:
        """Return `dict(inputs, data_samples)` for either kind of data."""
        if 'labels' in data:
            return self._whole_batch(data, training)
        inputs = data['inputs']
        if isinstance(inputs, (list, tuple)) and not _is_image(inputs[0]):
            views = [super(BatchPreprocessor, self).forward({**data, 'inputs': view}, training) for view in inputs]
            return {'inputs': [view['inputs'] for view in views], 'data_samples': views[0]['data_samples']}
        return super().forward(data, training)

    def _whole_batch(self, data: dict, training: bool) -> dict:
        batch = {key: value.to(self.device, non_blocking=True) for key, value in data.items()}
        images = batch['inputs'].flip(1) if self.to_rgb else batch['inputs']
        images = images.to(torch.float32, copy=True)
        batch['inputs'] = images.sub_(self.mean).div_(self.std) if self._enable_normalize else images
        for transform in self.train_transforms if training else self.test_transforms:
            batch = transform(batch)
        if self.channels_last:
            batch['inputs'] = _channels_last(batch['inputs'])
        if training:
            samples = [DataSample().set_gt_label(batch['labels'])]
        else:
            samples = [
                DataSample(metainfo={'sample_idx': index}).set_gt_label(label)
                for index, label in zip(batch['indices'].tolist(), batch['labels'].unsqueeze(1), strict=True)
            ]
        return {'inputs': batch['inputs'], 'data_samples': samples}


def _is_image(item: object) -> bool:
    return isinstance(item, Tensor) and item.ndim == 3


def _channels_last(inputs: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    if isinstance(inputs, list):
        return [_channels_last(view) for view in inputs]  # type: ignore[misc]
    import torch

    return inputs.contiguous(memory_format=torch.channels_last)
