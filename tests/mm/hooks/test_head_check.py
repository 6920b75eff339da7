"""Data set, head and checkpoint must agree about the classes."""

from types import SimpleNamespace

import pytest
from mmengine.dataset import BaseDataset, ConcatDataset
from mmpretrain.models import LinearClsHead
from torch import nn

from mmposenc.mm.datasets import Digits, GridDigits
from mmposenc.mm.hooks import HeadCheckHook
from mmposenc.mm.loops import ChannelRankingLoop


class Photos(BaseDataset):
    METAINFO = {'classes': ('a', 'b')}

    def load_data_list(self) -> list[dict]:
        return [{}]


def runner(num_classes, dataset, val_dataset=None, test_loop=None):
    model, loader = nn.Module(), SimpleNamespace(dataset=dataset)
    model.head = LinearClsHead(num_classes, 8)
    loops = [SimpleNamespace(dataloader=SimpleNamespace(dataset=each)) for each in (dataset, val_dataset or dataset)]
    loaders = dict(val_dataloader=loader, test_dataloader=loader)
    return SimpleNamespace(model=model, train_loop=loops[0], val_loop=loops[1], test_loop=test_loop, **loaders)


@pytest.mark.parametrize('when', ['before_train', 'before_val', 'before_test'])
@pytest.mark.parametrize('data, expected, message', [
    (lambda: GridDigits(grid_size=5), 25, r'25 \(.*location on a 5x5 grid\), got 9; set it'),
    (lambda: GridDigits(grid_size=3, task='category'), 10, r'10 \(the classes of GridDigits\), got 9'),
    (Digits, 10, r'10 \(the classes of Digits\), got 9'),
    (Photos, 2, r'2 \(the classes of Photos\), got 9'),
    (lambda: ConcatDataset([Photos(), Photos()]), 2, r'2 \(the classes of ConcatDataset\), got 9'),
], ids=['location', 'category', 'memory', "mmpretrain's", 'joined'])  # fmt: skip
def test_another_number_of_classes_is_refused(when, data, expected, message):
    data, check = data(), getattr(HeadCheckHook(), when)
    with pytest.raises(ValueError, match=f'num_classes must be {message}'):
        check(runner(9, data))
    check(runner(expected, data))


def test_what_is_looked_at():
    """The validation set before training; ranking takes any images, and classes without names pass."""
    with pytest.raises(ValueError, match='num_classes must be 25'):
        HeadCheckHook().before_train(runner(9, GridDigits(3), val_dataset=GridDigits(5, split='test')))
    HeadCheckHook().before_test(runner(9, Photos(), test_loop=object.__new__(ChannelRankingLoop)))
    HeadCheckHook().before_test(runner(9, [1]))


def test_a_checkpoint_of_another_grid_is_refused():
    checkpoint = {'meta': {'dataset_meta': GridDigits(3).metainfo}, 'state_dict': {}}
    with pytest.raises(ValueError, match=r'trained for location on a 3x3 grid \(9 classes\), but .* is 25'):
        HeadCheckHook().after_load_checkpoint(runner(25, GridDigits(5)), checkpoint)
    HeadCheckHook().after_load_checkpoint(runner(9, GridDigits(3)), checkpoint)
    HeadCheckHook().after_load_checkpoint(runner(25, GridDigits(5)), {'state_dict': {}})
