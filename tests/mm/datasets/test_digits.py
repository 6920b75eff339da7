import torch
from sklearn.datasets import load_digits

from mmposenc.mm.datasets.in_memory import Digits


def test_the_splits_hold_every_digit_once_and_a_shift_of_8_loses_nothing():
    train, test = Digits('train'), Digits('test')
    assert (train.images.shape, test.images.shape) == ((1442, 3, 32, 32), (355, 3, 32, 32))
    both, bunch = torch.cat([train.images, test.images]), load_digits()
    small = both[:, 0, 8:24:2, 8:24:2].flatten(1)
    original = torch.from_numpy((bunch.images * 255 / 16).round()).byte().flatten(1)
    assert sorted(map(tuple, small.tolist())) == sorted(map(tuple, original.tolist()))
    assert torch.equal(both.sum((1, 2, 3)), both[..., 8:24, 8:24].sum((1, 2, 3)))
    counts = torch.from_numpy(bunch.target).bincount()
    assert torch.equal(test.labels.bincount(), counts // 5)  # every fifth of a class
    assert torch.equal(train.labels.bincount(), counts - counts // 5)


def test_the_first_digit_by_hand():
    """The first sample is a 0 whose first row is 0 0 5 13 9 1 0 0 of 16."""
    data = Digits('train')
    row = [0, 0, 0, 0, 80, 80, 207, 207, 143, 143, 16, 16, 0, 0, 0, 0]
    assert data.labels[0] == 0
    assert data.images[0, :, 8:10, 8:24].tolist() == [[row] * 2] * 3
    assert data.metainfo['classes'] == tuple('0123456789')
    assert Digits('test', indices=7).labels.tolist() == Digits('test').labels[:7].tolist()
