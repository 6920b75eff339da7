"""A checkpoint of another model stops the run, with the keys named."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseTTAModel
from torch import nn

from mmposenc.mm.hooks.strict_checkpoint import StrictCheckpointHook


def net(width: int = 2, depth: int = 1) -> nn.Module:
    return nn.Sequential(*(nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)) for _ in range(depth)))


def load(model: nn.Module, state: dict) -> None:
    StrictCheckpointHook().after_load_checkpoint(SimpleNamespace(model=model, model_name='Net'), state)


def test_an_exact_fit_passes_in_every_form() -> None:
    state = net().state_dict()
    load(net(), dict(state_dict=state))
    load(net(), state)
    load(net(), dict(state_dict={f'module.{key}': value for key, value in state.items()}))
    load(nn.DataParallel(net()), dict(state_dict=state))
    del state['0.1.num_batches_tracked']
    load(net(), dict(state_dict=state))


def test_the_model_below_test_time_augmentation_is_compared() -> None:
    class Augmented(BaseTTAModel):
        def merge_preds(self, data_samples_list: list) -> list:
            return data_samples_list

    inner = net()
    inner.test_step = inner.forward
    model = Augmented(inner)
    load(model, dict(state_dict=net().state_dict()))
    with pytest.raises(ValueError, match='7 unexpected'):
        load(model, dict(state_dict=net(depth=2).state_dict()))


def test_a_smaller_checkpoint_misses_keys() -> None:
    with pytest.raises(
        ValueError, match=r'another model than Net of this config: 6 missing, first 1\.0\.weight; 1\.0\.bias'
    ):
        load(net(depth=2), dict(state_dict=net(depth=1).state_dict()))


def test_a_deeper_checkpoint_of_the_same_widths_is_not_cut_short() -> None:
    with pytest.raises(
        ValueError, match=r': 7 unexpected, first 1\.0\.weight; 1\.0\.bias; 1\.1\.weight\. Give the config'
    ):
        load(net(depth=1), dict(state_dict=net(depth=2).state_dict()))


def test_another_shape_is_named() -> None:
    with pytest.raises(
        ValueError, match=r'of another shape, first size mismatch for 0\.0\.weight: .*\[3, 3\].*\[2, 2\]'
    ):
        load(net(width=2), dict(state_dict=net(width=3).state_dict()))


def test_other_keys_are_both_missing_and_unexpected() -> None:
    with pytest.raises(ValueError, match=r'2 missing, first weight; bias \| 1 unexpected, first other'):
        load(nn.Linear(1, 1), dict(state_dict=dict(other=torch.ones(1))))
