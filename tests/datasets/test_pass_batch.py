import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from mmposenc.mm.datasets.in_memory_images import InMemoryImages
from mmposenc.mm.datasets.pass_batch import pass_batch


def _data(first: int = 0) -> InMemoryImages:
    images = torch.arange(first, first + 6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 4, 4)
    return InMemoryImages(images.clone(), torch.arange(6), list('abcdef'))


def test_the_very_batch_is_passed():
    batch = {'inputs': torch.zeros(2, 3, 4, 4)}
    assert pass_batch(batch) is batch


def test_a_loader_of_a_subset_still_gathers():
    loader = DataLoader(Subset(_data(), [5, 1, 3]), batch_size=2, collate_fn=pass_batch)
    assert [batch['labels'].tolist() for batch in loader] == [[5, 1], [3]]


def test_single_samples_are_refused():
    loader = DataLoader(ConcatDataset([_data(), _data(6)]), batch_size=2, collate_fn=pass_batch)
    with pytest.raises(TypeError, match=r'got list: .*default_collate'):
        next(iter(loader))
