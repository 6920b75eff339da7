"""Images in memory: a batch is its samples stacked, a subset is a slice, and what cannot be is refused."""

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, default_collate

from mmposenc.mm.datasets.in_memory import InMemoryImages, pass_batch, subset_positions

IMAGES = torch.randint(0, 256, (9, 3, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(9) % 3


def data(**subset) -> InMemoryImages:
    return InMemoryImages(IMAGES.clone(), LABELS.clone(), ('cat', 'dog', 'frog'), **subset)


def test_one_sample_by_hand():
    whole = data()
    sample = whole[4]
    assert list(sample) == ['inputs', 'labels', 'indices']
    assert torch.equal(sample['inputs'], IMAGES[4])
    assert (sample['labels'].item(), sample['indices'].item(), whole[-1]['indices'].item()) == (1, 4, 8)
    assert len(list(whole)) == 9  # a position out of range ends it
    assert whole.metainfo == {'classes': ('cat', 'dog', 'frog')}
    for taken in (sample, whole.__getitems__([3])):  # copies
        taken['inputs'].zero_()
        taken['labels'].fill_(2)
    assert torch.equal(whole.images, IMAGES)
    assert torch.equal(whole.labels, LABELS)


@pytest.mark.parametrize('positions', [[0], [8, 0, 3], [2, 2], list(range(9))])
def test_a_batch_equals_its_samples_stacked(positions):
    batch, stacked = data().__getitems__(positions), default_collate([data()[i] for i in positions])
    assert batch.keys() == stacked.keys()
    for key in batch:
        assert torch.equal(batch[key], stacked[key])
        assert batch[key].dtype == stacked[key].dtype


@pytest.mark.parametrize('subset, positions', [
    ({'indices': 4}, [0, 1, 2, 3]),
    ({'indices': np.int64(4)}, [0, 1, 2, 3]),
    ({'indices': [7, 2, 7]}, [7, 2, 7]),
    ({'indices': np.array([3, 4], np.uint8)}, [3, 4]),
    ({'fraction': 1 / 3}, [0, 3, 6]),
    ({'fraction': np.float32(0.001)}, [0]),
    ({'fraction': 0.5}, [0, 1, 3, 5, 7]),
])  # fmt: skip
def test_a_subset_equals_slicing(subset, positions):
    part = data(**subset)
    assert torch.equal(part.images, IMAGES[positions])
    assert torch.equal(part.labels, LABELS[positions])
    assert part.__getitems__(range(len(part)))['indices'].tolist() == list(range(len(part)))


NONE = (10, 10**15, 0, [], [0, 9], [-1])


@pytest.mark.parametrize('subset, message', [
    ({'indices': 3, 'fraction': 0.5}, 'give either indices or fraction'),
    *(({'indices': some}, 'indices must be a number from 1 to 9, or positions from 0 to 8') for some in NONE),
    *(({'indices': some}, 'must be an integer or a sequence of integers') for some in (True, 2.0, [True], 'ab')),
    ({'fraction': 1.01}, r'fraction must be a number in \(0, 1\], got 1.01'),
    ({'fraction': float('nan')}, r'fraction must be a number in \(0, 1\], got nan'),
])  # fmt: skip
def test_impossible_subsets(subset, message):
    with pytest.raises((ValueError, TypeError), match=message):
        subset_positions(9, **subset)


@pytest.mark.parametrize('images, labels, message', [
    (IMAGES.float(), LABELS, r'uint8 \(N, 3, H, W\) and labels int64 \(N,\), got torch.float32 \(9, 3, 5, 6\)'),
    (IMAGES, LABELS[:8], r'and torch.int64 \(8,\)'),
    (IMAGES, LABELS + 1, 'labels must lie in 0 to 2, got values from 1 to 3'),
    (IMAGES, LABELS - 1, 'got values from -1 to 1'),
])  # fmt: skip
def test_images_and_labels_that_do_not_match(images, labels, message):
    with pytest.raises(ValueError, match=message):
        InMemoryImages(images, labels, ('cat', 'dog', 'frog'))


def test_pass_batch_takes_whole_batches_and_refuses_single_samples():
    loader = DataLoader(Subset(data(), [5, 1, 3]), batch_size=2, collate_fn=pass_batch)
    assert [batch['indices'].tolist() for batch in loader] == [[5, 1], [3]]
    loader = DataLoader(ConcatDataset([data(), data()]), batch_size=2, collate_fn=pass_batch)
    with pytest.raises(TypeError, match=r'got list: .*default_collate'):
        next(iter(loader))
