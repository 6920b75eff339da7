from unittest import mock

import pytest
import torch
from tiny_networks import segmentation_batch, tiny_plan, tiny_segmentor
from torch import Tensor

from mmposenc.channels.ablation import ablate_channels
from mmposenc.mm.sweep.forwards import run_forwards
from mmposenc.mm.sweep.levels import SweepLevel


@torch.no_grad()
@pytest.mark.parametrize('level', [1, 2])
def test_every_run_gives_what_its_hook_gives_and_level_2_shares_the_backbone(level: int) -> None:
    model, images = tiny_segmentor('fcn'), segmentation_batch(2, 17, 24)['inputs']
    plan = tiny_plan(['backbone[-1]'])
    outputs: dict[int, Tensor] = {}

    def forward() -> Tensor:
        return model(images, mode='tensor')

    with mock.patch.object(model.backbone, 'forward', wraps=model.backbone.forward) as backbone:
        run_forwards(model, plan, {'backbone[-1]': SweepLevel(level, '')}, forward, outputs.__setitem__)
    assert backbone.call_count == (1 if level == 2 else plan.num_runs)
    assert outputs.keys() == set(range(plan.num_runs))
    assert torch.equal(outputs[0], forward())
    for group in plan.groups:
        for run, (start, stop) in zip(group.runs, group.slices, strict=True):
            with ablate_channels(model, group.layer, group.order[start:stop]):
                assert torch.equal(outputs[run], forward())
            assert not torch.equal(outputs[run], outputs[0])


@torch.no_grad()
def test_a_layer_inside_the_backbone_runs_beside_one_that_shares_it() -> None:
    model, images = tiny_segmentor('fcn'), segmentation_batch(1, 17, 24)['inputs']
    plan = tiny_plan(['backbone[-1]', 'backbone.layer4'])
    levels = {'backbone[-1]': SweepLevel(2, ''), 'backbone.layer4': SweepLevel(1, '')}
    outputs: dict[int, Tensor] = {}
    run_forwards(model, plan, levels, lambda: model(images, mode='tensor'), outputs.__setitem__)
    # The backbone's last output is what its last stage gives.
    for one, other in zip(*(plan.groups_at([layer]) for layer in plan.layers), strict=True):
        assert one.runs != other.runs
        assert all(torch.equal(outputs[a], outputs[b]) for a, b in zip(one.runs, other.runs, strict=True))


def test_layers_of_level_3_are_left_to_others_and_the_baseline_can_be_recorded() -> None:
    outputs: dict[int, str] = {}
    levels = {'backbone[-1]': SweepLevel(3, '')}
    run_forwards(tiny_segmentor(), tiny_plan([*levels]), levels, str, outputs.__setitem__, lambda: 'recorded')
    assert outputs == {0: 'recorded'}
