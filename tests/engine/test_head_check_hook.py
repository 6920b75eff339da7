"""Data set, head and checkpoint must speak of the same classes."""

from types import SimpleNamespace

import pytest
from mmpretrain.models import LinearClsHead
from torch import nn

from mmposenc.mm.datasets.digits import Digits
from mmposenc.mm.datasets.grid_cifar import GridDigits
from mmposenc.mm.hooks.head_check import HeadCheckHook
from mmposenc.mm.models.grids import GAPLogitHead


class Classifier(nn.Module):
    def __init__(self, head: nn.Module, neck: nn.Module | None = None) -> None:
        super().__init__()
        self.head, self.neck = head, neck


def runner(num_classes: int, dataset, neck: nn.Module | None = None, linear: bool = False, val_dataset=None):
    head = (LinearClsHead if linear else GAPLogitHead)(num_classes, 8)
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    val = SimpleNamespace(dataloader=SimpleNamespace(dataset=val_dataset)) if val_dataset is not None else None
    return SimpleNamespace(
        model=Classifier(head, neck),
        train_loop=loop,
        val_loop=val,
        val_dataloader=loop.dataloader,
        test_dataloader=loop.dataloader,
    )


@pytest.mark.parametrize('when', ['before_train', 'before_val', 'before_test'])
def test_a_head_that_was_not_told_of_the_grid_is_refused(when: str):
    data, check = GridDigits(grid_size=5), getattr(HeadCheckHook(), when)
    with pytest.raises(ValueError, match=r'num_classes must be 25 \(.*location on a 5x5 grid\), got 9; set it'):
        check(runner(9, data))
    check(runner(25, data))


def test_for_category_the_head_must_have_the_classes():
    data = GridDigits(grid_size=3, task='category')
    with pytest.raises(ValueError, match=r'num_classes must be 10 \(the classes of GridDigits\), got 9'):
        HeadCheckHook().before_train(runner(9, data))
    HeadCheckHook().before_train(runner(10, data))


def test_the_validation_set_is_looked_at_before_training():
    with pytest.raises(ValueError, match='num_classes must be 25'):
        HeadCheckHook().before_train(runner(9, GridDigits(3), val_dataset=GridDigits(5, split='test')))


@pytest.mark.parametrize('num_classes', [9, 100])
def test_without_a_grid_the_head_must_have_the_data_sets_classes(num_classes: int):
    with pytest.raises(ValueError, match=rf'num_classes must be 10 \(the classes of Digits\), got {num_classes}'):
        HeadCheckHook().before_train(runner(num_classes, Digits()))
    HeadCheckHook().before_train(runner(10, Digits()))


def test_a_data_set_that_names_no_classes_passes():
    HeadCheckHook().before_test(SimpleNamespace(model=nn.Linear(1, 1), test_dataloader=SimpleNamespace(dataset=[1])))


def test_a_checkpoint_of_another_grid_is_refused():
    checkpoint = {'meta': {'dataset_meta': GridDigits(3).metainfo}, 'state_dict': {}}
    with pytest.raises(ValueError, match=r'trained for location on a 3x3 grid \(9 classes\), but .* is 25'):
        HeadCheckHook().after_load_checkpoint(runner(25, GridDigits(5)), checkpoint)
    HeadCheckHook().after_load_checkpoint(runner(9, GridDigits(3)), checkpoint)
    HeadCheckHook().after_load_checkpoint(runner(25, GridDigits(5)), {'state_dict': {}})
