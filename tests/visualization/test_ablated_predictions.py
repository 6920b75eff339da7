"""Predictions with and without channels, on a segmenter whose prediction is one of its channels."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import nn

from mmposenc.figures.ablated_predictions import predict_ablated


@pytest.fixture
def model() -> EncoderDecoder:
    """Class 1 where channel 0 (blue) is above one half, class 2 where channel 1 (green) is."""
    init_default_scope('mmseg')
    preprocessor = dict(type='SegDataPreProcessor', mean=[0.0] * 3, std=[255.0] * 3)
    head = dict(type='FCNHead', in_channels=3, in_index=-1, channels=3, num_convs=0, concat_input=False, num_classes=3)
    backbone, test_cfg = dict(type=Stages), ConfigDict(mode='whole')
    made = EncoderDecoder(backbone, head, data_preprocessor=preprocessor, test_cfg=test_cfg).eval()
    made.decode_head.conv_seg.weight.data = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]).view(3, 3, 1, 1)
    made.decode_head.conv_seg.bias.data = torch.tensor([0.5, 0, 0])
    return made


class Stages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


@pytest.fixture
def sample() -> dict:
    blue_green_red = torch.tensor([[[255, 0, 0]], [[0, 255, 0]], [[0, 0, 255]]], dtype=torch.uint8)  # (3, 1, 3)
    truth = SegDataSample(metainfo=dict(img_path='folder/scene.png', ori_shape=(2, 6), img_shape=(1, 3)))
    truth.gt_sem_seg = PixelData(data=torch.tensor([[[1, 1, 2, 2, 0, 255]] * 2]))
    return dict(inputs=blue_green_red, data_samples=truth)


def test_each_prediction_lacks_its_channels(model: EncoderDecoder, sample: dict) -> None:
    row = predict_ablated(model, sample, 'backbone[-1]', [0], [1], 3)
    assert row.whole[0].tolist() == [1, 1, 2, 2, 0, 0]
    assert row.without_position[0].tolist() == [0, 0, 2, 2, 0, 0]
    assert row.without_random[0].tolist() == [1, 1, 0, 0, 0, 0]
    assert row.labels[0].tolist() == [1, 1, 2, 2, 0, 255]
    assert row.name == 'scene'
    assert row.image.shape == (2, 6, 3)
    # Read as BGR, shown as RGB: the left end is blue.
    assert np.array_equal(row.image[0, [0, 5]], [[0, 0, 255], [255, 0, 0]])
    assert 'pred_sem_seg' not in sample['data_samples']
    assert not model.backbone._forward_hooks


def test_what_is_refused(model: EncoderDecoder, sample: dict) -> None:
    with pytest.raises(ValueError, match=r"layer 'decode_head' exists but did not run"):
        predict_ablated(model, sample, 'decode_head', [], [])
    with pytest.raises(ValueError, match=r'has 3 channels, but the channels were chosen among 9'):
        predict_ablated(model, sample, 'backbone[-1]', [0], [1], 9)
    sample['data_samples'] = SegDataSample(metainfo=dict(ori_shape=(2, 6)))
    with pytest.raises(ValueError, match='the picture needs label maps: add LoadAnnotations'):
        predict_ablated(model, sample, 'backbone[-1]', [0], [1])
