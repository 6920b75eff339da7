from typing import Any

import pytest
import torch
from tiny_networks import CLASSES, segmentation_batch, tiny_plan, tiny_segmentor
from torch import Tensor

from mmposenc.channels.ablation import ablate_channels
from mmposenc.channels.channel_choice import random_ranking
from mmposenc.channels.sweep import SweepPlan
from mmposenc.mm.sweep.levels import POOLED_LAYER, choose_level
from mmposenc.mm.sweep.segmentation import SegmentationSweep
from mmposenc.regions.confusion import count_strips
from mmposenc.regions.margins import confusion_margins, margin_figures
from mmposenc.regions.strips import RegionStrips

BOTH = [POOLED_LAYER, 'backbone[-1]']


def sweep(model: Any, plan: SweepPlan, level: str = 'auto', **options: Any) -> SegmentationSweep:
    levels = {layer: choose_level(model, layer, level) for layer in plan.layers}
    return SegmentationSweep(model, plan, levels, CLASSES, **options)


@torch.no_grad()
def plain(model: Any, plan: SweepPlan, data: dict) -> Tensor:
    """A hook, an ordinary test and a count for each run."""
    slices = {0: (plan.layers[0], ())}
    for group in plan.groups:
        for run, (start, stop) in zip(group.runs, group.slices, strict=True):
            slices[run] = (group.layer, group.order[start:stop])
    counts = []
    for run in range(plan.num_runs):
        with ablate_channels(model, *slices[run]):
            outputs = model(data['inputs'], data['data_samples'], mode='predict')
        pairs = [(sample.gt_sem_seg.data[0], sample.pred_sem_seg.data[0]) for sample in outputs]
        counts.append(torch.stack([confusion_margins(count_strips(*pair, 5, RegionStrips())) for pair in pairs]))
    return torch.stack(counts, dim=1)


def same_pixels(counts: Tensor, wanted: Tensor) -> bool:
    """At most 1 pixel in 1e5 is counted elsewhere, and none of run 0."""
    moved = (counts - wanted).abs().sum((-3, -2, -1)) / 2
    pixels = wanted[:, :, :, 0].sum((-2, -1))
    return (
        counts.shape == wanted.shape and torch.equal(counts[:, 0], wanted[:, 0]) and bool((moved <= pixels / 1e5).all())
    )


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('images, height, width', [(1, 32, 64), (2, 37, 61), (3, 20, 17)])
def test_level_3_counts_what_the_plain_hook_counts(images: int, height: int, width: int, align_corners: bool) -> None:
    model, plan = tiny_segmentor(align_corners=align_corners), tiny_plan(BOTH)
    data = segmentation_batch(images, height, width)
    wanted = plain(model, plan, data)
    assert len(wanted.flatten(2).unique(dim=1).unbind(1)) > 10, 'the variants differ'
    for budget in (1024, 0.001):
        chosen = sweep(model, plan, memory_budget=budget)
        assert {level.level for level in chosen.levels.values()} == {3}
        assert same_pixels(chosen.count(data, range(images)), wanted)


@pytest.mark.gpu
def test_level_3_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    monkeypatch.setattr(torch.backends.cuda.matmul, 'allow_tf32', False)
    model, plan, data = tiny_segmentor().cuda(), tiny_plan(BOTH), segmentation_batch(2, 37, 61)
    data = dict(inputs=data['inputs'].cuda(), data_samples=[sample.cuda() for sample in data['data_samples']])
    counts = sweep(model, plan).count(data, range(2))
    assert counts.device.type == 'cpu'
    assert same_pixels(counts, plain(model, plan, data).cpu())


@pytest.mark.parametrize('head', ['aspp', 'fcn', 'psp', 'sep_aspp'])
@pytest.mark.parametrize('level', ['1', '2'])
def test_levels_1_and_2_count_the_same_to_the_last_pixel(head: str, level: str) -> None:
    model, plan, data = tiny_segmentor(head), tiny_plan(['backbone[-1]']), segmentation_batch(2, 37, 61)
    assert torch.equal(sweep(model, plan, level).count(data, range(2)), plain(model, plan, data))


@pytest.mark.parametrize('meta', [
    dict(ori_shape=(29, 50), img_shape=(37, 61), pad_shape=(37, 61)),
    dict(ori_shape=(30, 64), img_shape=(30, 64), pad_shape=(37, 66), padding_size=[0, 2, 0, 7]),
    dict(ori_shape=(55, 128), img_shape=(30, 64), pad_shape=(37, 66), padding_size=[0, 2, 0, 7]),
    dict(flip=True, flip_direction='horizontal'),
    dict(ori_shape=(50, 70), flip=True, flip_direction='vertical'),
])  # fmt: skip
def test_padding_flips_and_other_sizes_are_undone_as_the_host_does(meta: dict) -> None:
    height, width = meta.get('pad_shape', (37, 61))
    model, plan, data = tiny_segmentor(), tiny_plan(BOTH), segmentation_batch(2, height, width, **meta)
    wanted = plain(model, plan, data)
    assert same_pixels(sweep(model, plan).count(data, range(2)), wanted)


def test_a_network_with_one_output_for_two_classes() -> None:
    model, plan = tiny_segmentor(num_classes=2, out_channels=1, threshold=0.5), tiny_plan(BOTH)
    data = segmentation_batch(1, 32, 64)
    for sample in data['data_samples']:
        sample.gt_sem_seg.data.clamp_(max=1)
    assert same_pixels(sweep(model, plan).count(data, [0]), plain(model, plan, data))


def test_layers_of_all_levels_in_one_pass() -> None:
    model, data = tiny_segmentor(), segmentation_batch(1, 37, 61)
    plan = tiny_plan([POOLED_LAYER, 'backbone[-1]', 'backbone.layer4'])
    chosen = sweep(model, plan)
    assert [level.level for level in chosen.levels.values()] == [3, 3, 1]
    counts = chosen.count(data, [0])
    assert same_pixels(counts, plain(model, plan, data))
    assert not any(module._forward_hooks for module in model.modules())


def test_an_exception_leaves_no_hook_behind() -> None:
    model, data = tiny_segmentor(), segmentation_batch(1, 32, 64)
    data['data_samples'][0].gt_sem_seg.data[0, 5, 5] = 77
    with pytest.raises(ValueError, match='label 77 in 1 pixels is outside the 5 classes'):
        sweep(model, tiny_plan(BOTH)).count(data, [0])
    assert not any(module._forward_hooks for module in model.modules())
    assert 'forward' not in model.backbone.__dict__


def test_labels_are_needed() -> None:
    data = segmentation_batch(1, 32, 64)
    del data['data_samples'][0].gt_sem_seg
    with pytest.raises(ValueError, match='a sample has no gt_sem_seg: put LoadAnnotations'):
        sweep(tiny_segmentor(), tiny_plan(BOTH)).count(data, [0])


def test_the_table_by_hand() -> None:
    plan = SweepPlan({'one': random_ranking(4, 0, 'x')}, ['x'], [0, 2], num_random=1)
    chosen = SegmentationSweep(None, plan, {}, ['a', 'b'], regions=dict(left=(0, 0, 0.5, 1)))
    counts = torch.zeros(2, 3, 2, 3, 2, dtype=torch.int32)
    # Run 0: all right on the left, all wrong on the right; runs 1 and 2: class b is nowhere.
    counts[:, 0, 0] = torch.tensor([[4, 4], [4, 4], [4, 4]])
    counts[:, 0, 1] = torch.tensor([[6, 2], [2, 6], [0, 0]])
    counts[:, 1:, :] = torch.tensor([[8, 0], [8, 0], [8, 0]])
    head, rows = chosen.tables(counts)['sweep.csv']
    assert head == [
        'layer',
        'ranking',
        'draw',
        'kind',
        'start',
        'num_channels',
        'region',
        'mIoU',
        'aAcc',
        'IoU/a',
        'IoU/b',
    ]
    assert [row[:7] for row in rows] == [
        ['x', name, draw, 'top', 0, number, region]
        for name, draw in (('one', ''), ('random', 0))
        for number in (0, 2)
        for region in ('left', 'overall')
    ]
    assert rows[0][7:] == ['100.000000'] * 4
    # Overall: class a has 10 labelled, 6 predicted, 4 both in each image; b the same.
    assert rows[1][7:] == ['33.333333', '50.000000', '33.333333', '33.333333']
    assert rows[4][7:] == rows[0][7:], 'N = 0 is the same for the random draw'
    assert rows[2][7:] == ['100.000000', '100.000000', '100.000000', 'nan']
    assert chosen.summary(counts) == pytest.approx({'left/mIoU': 100, 'overall/mIoU': 100 / 3})
    iou = margin_figures(counts[:, 0].sum((0, 1)))['IoU']
    assert iou.tolist() == pytest.approx([100 / 3] * 2)
