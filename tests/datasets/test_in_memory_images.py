import pytest
import torch
from torch.utils.data import default_collate

from mmposenc.mm.datasets.in_memory_images import InMemoryImages

CLASSES = ('cat', 'dog', 'frog')


def _images(num: int = 9) -> torch.Tensor:
    return torch.randint(0, 256, (num, 3, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _labels(num: int = 9) -> torch.Tensor:
    return torch.arange(num) % 3


def _data(**subset) -> InMemoryImages:
    return InMemoryImages(_images(), _labels(), CLASSES, **subset)


def test_one_sample_by_hand():
    sample = _data()[4]
    assert torch.equal(sample['inputs'], _images()[4])
    assert sample['labels'].item() == 1
    assert sample['indices'].item() == 4
    assert list(sample) == ['inputs', 'labels', 'indices']


def test_a_batch_equals_its_samples_stacked():
    data = _data()
    for positions in ([0], [8, 0, 3], [2, 2], list(range(9))):
        batch, stacked = data.__getitems__(positions), default_collate([data[i] for i in positions])
        assert batch.keys() == stacked.keys()
        for key in batch:
            assert torch.equal(batch[key], stacked[key])
            assert batch[key].dtype == stacked[key].dtype


def test_data_types_of_a_batch():
    batch = _data().__getitems__([1, 2])
    assert (batch['inputs'].dtype, batch['labels'].dtype, batch['indices'].dtype) == (
        torch.uint8,
        torch.int64,
        torch.int64,
    )
    assert batch['inputs'].shape == (2, 3, 5, 6)


@pytest.mark.parametrize(
    'subset, positions',
    [({'indices': 4}, [0, 1, 2, 3]), ({'indices': [7, 2]}, [7, 2]), ({'fraction': 1 / 3}, [0, 3, 6])],
)
def test_a_subset_equals_slicing(subset, positions):
    part = _data(**subset)
    assert len(part) == len(positions)
    assert torch.equal(part.images, _images()[positions])
    assert torch.equal(part.labels, _labels()[positions])
    assert part.__getitems__(range(len(part)))['indices'].tolist() == list(range(len(part)))


def test_the_split_is_held_once():
    images = _images()
    assert InMemoryImages(images, _labels(), CLASSES).images.data_ptr() == images.data_ptr()


@pytest.mark.parametrize('take', [lambda data: data[3], lambda data: data.__getitems__([3])])
def test_changing_what_was_taken_leaves_the_split_alone(take):
    data = _data()
    taken = take(data)
    taken['inputs'].zero_()
    taken['labels'].fill_(2)
    assert torch.equal(data.images, _images())
    assert torch.equal(data.labels, _labels())


def test_iteration_ends_and_negative_positions_count_from_the_end():
    data = _data()
    assert len(list(data)) == 9
    assert data[-1]['indices'].item() == 8
    with pytest.raises(IndexError, match='index 9 is out of range; the data set holds 9'):
        data[9]


def test_metainfo_names_the_classes():
    assert _data().metainfo == {'classes': CLASSES}


@pytest.mark.parametrize('label', [-1, 3])
def test_label_out_of_range(label):
    labels = _labels()
    labels[5] = label
    with pytest.raises(ValueError, match=r'labels must lie in 0 to 2 \(3 classes\), got values from'):
        InMemoryImages(_images(), labels, CLASSES)


@pytest.mark.parametrize(
    'images, labels', [(_images(), _labels(8)), (_images()[:, :1], _labels()), (_images()[0], _labels(3))]
)
def test_shapes_that_do_not_fit(images, labels):
    with pytest.raises(ValueError, match=r'images must be \(N, 3, H, W\) and labels \(N,\), got images'):
        InMemoryImages(images, labels, CLASSES)


@pytest.mark.parametrize('images, labels', [(_images().float(), _labels()), (_images(), _labels().int())])
def test_other_data_types(images, labels):
    with pytest.raises(TypeError, match='images must be uint8 and labels int64, got'):
        InMemoryImages(images, labels, CLASSES)


def test_no_images():
    with pytest.raises(ValueError, match='images is empty'):
        InMemoryImages(_images()[:0], _labels()[:0], CLASSES)
