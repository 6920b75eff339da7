"""What a segmenter predicts with and without channels, image by image."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmcv import imresize
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel

from mmposenc.channels.ablation import ablate_channels


@dataclass(frozen=True)
class AblatedPredictions:
    """One image, its label map, and three predictions, all of one size (one row of Fig. 5).

    Args:
        name: What the image is called.
        image: uint8 RGB (H, W, 3).
        labels: Classes (H, W).
        whole: Prediction of the whole network, (H, W).
        without_position: Prediction without position channels.
        without_random: Prediction without as many random channels.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    whole: np.ndarray
    without_position: np.ndarray
    without_random: np.ndarray


def predict_ablated(
    model: BaseModel,
    sample: dict,
    layer: str,
    position_channels: Sequence[int],
    random_channels: Sequence[int],
    num_channels: int | None = None,
) -> AblatedPredictions:
    """Predict one image with the whole network, without position channels, and without random ones (Fig. 5).

    Args:
        model: A segmenter of mmseg, with its data preprocessor, in evaluation mode.
        sample: What mmseg's test pipeline gives, the image as it was read (BGR, 0 to 255), with its label map.
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        position_channels: What to switch off first.
        random_channels: What to switch off next, instead of the first.
        num_channels: The C that both were chosen among; a layer with another C is then refused.

    Raises:
        ValueError: If the sample has no label map, or the layer does not exist or does not run.
    """
    truth = sample['data_samples']
    if 'gt_sem_seg' not in truth:
        raise ValueError('the picture needs label maps: add LoadAnnotations to the pipeline, or take another data set')
    predictions = []
    for channels in ((), position_channels, random_channels):
        batch = pseudo_collate([deepcopy(sample)])
        with torch.no_grad(), ablate_channels(model, layer, channels, num_channels=num_channels) as ablation:
            (found,) = model.test_step(batch)
        if not ablation.calls:
            raise ValueError(f'layer {layer!r} exists but did not run: name a layer that the forward passes through')
        predictions.append(found.pred_sem_seg.data.squeeze(0).cpu().numpy())
    labels = truth.gt_sem_seg.data.squeeze(0).cpu().numpy()
    image = sample['inputs'].permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy()[..., ::-1]
    image = imresize(image, labels.shape[::-1])
    return AblatedPredictions(Path(truth.metainfo.get('img_path') or '').stem, image, labels, *predictions)
