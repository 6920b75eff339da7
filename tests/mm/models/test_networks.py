"""The registered parts of Table 1: canvases of a batch, GAPNet's head, the backbone."""

import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import nn

from mmposenc.mm.models import BatchPlaceOnGrid, BatchPreprocessor, GAPLogitHead, PositionResNet


def grid(grid_size: int, task: str) -> BaseDataElement:
    return BaseDataElement(metainfo={'grid_size': grid_size, 'task': task})


def grid_batch(number: int, task: str = 'location') -> dict:
    patches, labels = 1 + torch.rand(number, 3, 4, 4), torch.full((number,), 77)
    return {'inputs': patches, 'labels': labels, 'grid': grid(3, task)}


def test_drawn_cells_are_uniform_and_name_where_the_patch_lies():
    torch.manual_seed(0)
    placed = BatchPlaceOnGrid()(grid_batch(1800))
    assert placed['labels'].bincount(minlength=9).min() > 150  # 200 expected, standard deviation 13
    sums = placed['inputs'].sum(1).view(1800, 3, 4, 3, 4).sum((2, 4)).flatten(1)
    assert torch.equal(sums.argmax(1), placed['labels'])
    assert torch.equal(placed['labels'], placed['cells'])
    assert BatchPlaceOnGrid()(grid_batch(5, task='category'))['labels'].tolist() == [77] * 5


def test_in_the_preprocessor_the_canvas_is_zero_after_normalisation():
    place = [{'type': 'mmposenc.BatchPlaceOnGrid'}]
    preprocessor = BatchPreprocessor(place, place, mean=[10, 20, 30], std=[2, 2, 2])
    patches = torch.tensor([12, 24, 36], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    indices, cells = torch.arange(2), torch.tensor([3, 0])
    batch = {'inputs': patches, 'labels': indices, 'indices': indices, 'grid': grid(2, 'location'), 'cells': cells}
    for training in (True, False):
        out = preprocessor(batch, training=training)
        assert out['inputs'][0, :, 3, 3].tolist() == [1, 2, 3]
        assert out['inputs'][0].sum() == 4 * (1 + 2 + 3)
        assert torch.cat([sample.gt_label for sample in out['data_samples']]).tolist() == [3, 0]


@pytest.mark.parametrize(
    'padding_mode, corner, centre',
    # A 3x3 map with a single 1 under a kernel of ones, summed over the nine windows. Both axes act alike, so the sum is
    # a square. A 1 at the corner, padded along one axis: zeros 0|100|0 (windows 1, 1, 0), reflect 0|100|0,
    # replicate 1|100|0 (2, 1, 0), circular 0|100|1 (1, 1, 1). At the centre: zeros, replicate and circular 0|010|0
    # (1, 1, 1), reflect 1|010|1 (2, 1, 2).
    [('zeros', 4, 9), ('reflect', 4, 25), ('replicate', 9, 9), ('circular', 9, 9)],
)
def test_the_head_pools_the_logits_of_the_last_stage(padding_mode: str, corner: int, centre: int):
    head = GAPLogitHead(num_classes=2, in_channels=1, padding_mode=padding_mode)
    assert not any(isinstance(module, (nn.Linear, nn.ReLU)) for module in head.modules())
    nn.init.ones_(head.conv.weight)
    head.conv.bias.data = torch.tensor([0.0, 10.0])
    for place, expected in ((0, corner), (1, centre)):
        features = torch.zeros(1, 1, 3, 3)
        features[..., place, place] = 1
        logits = head((torch.rand(1, 2, 9, 9), features))
        assert torch.allclose(logits, torch.tensor([[expected / 9, expected / 9 + 10]]))


def test_resnet18_as_in_the_authors_code():
    net = PositionResNet()
    net.init_weights()
    net.eval()
    (features,) = net(torch.rand(1, 3, 96, 96))
    assert features.shape == (1, 512, 6, 6)  # stride 16: 2 in the stem, 2 in each of three stages
    assert (net.conv1.kernel_size, net.conv1.stride, net.conv1.padding) == ((7, 7), (2, 2), (3, 3))
    assert not any(isinstance(module, nn.MaxPool2d) for module in net.modules())
    assert (net.layer1[0].norm2.weight == 1).all()
    # torchvision's ResNet-18 has 11,689,512 parameters, of which the classifier 512 * 1000 + 1000.
    assert sum(p.numel() for p in net.parameters()) == 11_689_512 - 513_000


def test_the_padding_reaches_every_convolution_of_a_bottleneck():
    convs = [module for module in PositionResNet(50, 'circular').modules() if isinstance(module, nn.Conv2d)]
    assert [conv.padding_mode for conv in convs] == ['circular'] * 53


@pytest.mark.parametrize('call, message', [
    (lambda: BatchPlaceOnGrid()({'inputs': torch.rand(1, 3, 4, 4)}), r"names its grid, got the keys \['inputs'\]"),
    (lambda: GAPLogitHead(4, 6)((torch.rand(2, 6),)), r'\(N, C, H, W\), got \(2, 6\); remove the neck'),
    (lambda: GAPLogitHead(4, 6, padding_mode='zero'), 'padding_mode must be one of'),
    (lambda: PositionResNet(padding_mode='same'), "got padding_mode='same'"),
])  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
