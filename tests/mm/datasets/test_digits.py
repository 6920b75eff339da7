import sys

import pytest
import torch
from sklearn.datasets import load_digits

from mmposenc.mm.datasets.digits import Digits


def test_the_splits_hold_every_digit_once():
    train, test = Digits('train'), Digits('test')
    assert (len(train), len(test)) == (1442, 355)
    both = torch.cat([train.images, test.images])[:, 0, 8:24:2, 8:24:2].flatten(1)
    bunch = load_digits()
    original = torch.from_numpy((bunch.images * 255 / 16).round()).byte().flatten(1)
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, original.tolist()))


def test_every_fifth_of_a_class_is_for_testing():
    counts = torch.from_numpy(load_digits().target).bincount()
    assert torch.equal(Digits('test').labels.bincount(), counts // 5)
    assert torch.equal(Digits('train').labels.bincount(), counts - counts // 5)


def test_the_first_digit_by_hand():
    """The first sample is a 0 whose first row is 0 0 5 13 9 1 0 0 of 16."""
    data = Digits('train')
    row = [0, 0, 0, 0, 80, 80, 207, 207, 143, 143, 16, 16, 0, 0, 0, 0]
    assert data.labels[0] == 0
    for channel in range(3):
        for y in (8, 9):
            assert data.images[0, channel, y, 8:24].tolist() == row


def test_images_are_bytes_over_the_whole_range():
    images = Digits('test').images
    assert images.shape == (355, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert (images.min(), images.max()) == (0, 255)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_a_shift_of_8_loses_nothing(split):
    images = Digits(split).images
    total = images.sum((1, 2, 3))
    inside = images[..., 8:24, 8:24].sum((1, 2, 3))
    assert torch.equal(total, inside)
    assert images[..., 8, :].any()
    assert images[..., 23, :].any()


def test_subsets_and_determinism():
    whole, part = Digits('test'), Digits('test', fraction=0.1)
    assert len(part) == 36
    assert torch.equal(part.images, whole.images[torch.arange(36) * 355 // 36])
    assert torch.equal(Digits('test').images, whole.images)
    assert Digits('test', indices=7).labels.tolist() == whole.labels[:7].tolist()
    assert whole.metainfo['classes'] == tuple('0123456789')


def test_unknown_split():
    with pytest.raises(ValueError, match=r"split must be one of \['train', 'test'\], got 'val'"):
        Digits('val')


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    with pytest.raises(ImportError, match=r"pip install 'mmposenc\[demo\]'"):
        Digits()
