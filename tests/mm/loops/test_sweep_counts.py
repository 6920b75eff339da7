"""Counts of a sweep against a hook, an ordinary test and a count for each run."""

from typing import Any

import pytest
import torch
from mmpretrain.structures import DataSample
from mmseg.models import EncoderDecoder
from tiny_networks import CLASSES, classification_batch, segmentation_batch, tiny_classifier, tiny_plan, tiny_segmentor
from torch import Tensor

from mmposenc.channels import SweepPlan, ablate_channels
from mmposenc.mm.loops.sweep_counts import ClassificationCounts, SegmentationCounts
from mmposenc.regions import MeanIoU, RegionStrips, confusion_margins, count_strips
from mmposenc.shifts import ShiftedViews

POOLED = 'decode_head.image_pool.0'
BOTH = [POOLED, 'backbone[-1]']


def sweep(model: Any, plan: SweepPlan, level: str = 'auto', **options: Any) -> SegmentationCounts:
    return SegmentationCounts(model, plan, MeanIoU(CLASSES), level, **options)


def levels(chosen: SegmentationCounts) -> list[int]:
    return [chosen.level(layer) for layer in chosen.plan.layers]


@torch.no_grad()
def plain(model: Any, plan: SweepPlan, data: dict) -> Tensor:
    """A hook, an ordinary test and a count for each run."""
    sets = {run: (order.layer, channels) for order in plan.orders for run, channels in order.ablations()}
    counts = []
    for run in range(plan.num_runs):
        with ablate_channels(model, *sets.get(run, (plan.layers[0], ())), allow_repeats=True):
            outputs = model(data['inputs'], data['data_samples'], mode='predict')
        pairs = [(sample.gt_sem_seg.data[0], sample.pred_sem_seg.data[0]) for sample in outputs]
        counts.append(torch.stack([confusion_margins(count_strips(*pair, 5, RegionStrips())) for pair in pairs]))
    return torch.stack(counts, dim=1)


def same_pixels(counts: Tensor, wanted: Tensor) -> bool:
    """At most 1 pixel in 1e5 is counted elsewhere, and none of run 0."""
    moved = (counts - wanted).abs().sum((-3, -2, -1)) / 2
    pixels = wanted[:, :, :, 0].sum((-2, -1))
    same_whole = counts.shape == wanted.shape and torch.equal(counts[:, 0], wanted[:, 0])
    return same_whole and bool((moved <= pixels / 1e5).all())


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('images, height, width', [(1, 32, 64), (2, 37, 61), (3, 20, 17)])
def test_level_3_counts_what_the_plain_hook_counts(images: int, height: int, width: int, align_corners: bool) -> None:
    model, plan = tiny_segmentor(align_corners=align_corners), tiny_plan(BOTH)
    data = segmentation_batch(images, height, width)
    wanted = plain(model, plan, data)
    assert len(wanted.flatten(2).unique(dim=1).unbind(1)) > 10, 'the variants differ'
    for memory in (1024, 0.001):
        chosen = sweep(model, plan, memory=memory)
        assert same_pixels(chosen.count(data, range(images)), wanted)
        assert levels(chosen) == [3, 3]


@pytest.mark.gpu
def test_level_3_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    monkeypatch.setattr(torch.backends.cuda.matmul, 'allow_tf32', False)
    model, plan, data = tiny_segmentor().cuda(), tiny_plan(BOTH), segmentation_batch(2, 37, 61)
    data = dict(inputs=data['inputs'].cuda(), data_samples=[sample.cuda() for sample in data['data_samples']])
    counts = sweep(model, plan).count(data, range(2))
    assert counts.device.type == 'cpu'
    assert same_pixels(counts, plain(model, plan, data).cpu())


@pytest.mark.parametrize('head, layers', [
    ('sep_aspp', BOTH), ('psp', ['decode_head.psp_modules.0.0', 'backbone[-1]']), ('fcn', ['backbone[-1]']),
])  # fmt: skip
def test_the_other_heads_count_the_same(head: str, layers: list[str]) -> None:
    model, plan, data = tiny_segmentor(head), tiny_plan(layers), segmentation_batch(2, 37, 61)
    wanted = plain(model, plan, data)
    for level, used in (('1', 1), ('2', 2), ('auto', 2 if head == 'fcn' else 3)):
        chosen = sweep(model, plan, level)
        counts = chosen.count(data, range(2))
        assert same_pixels(counts, wanted) if used == 3 else torch.equal(counts, wanted)
        assert levels(chosen) == [used] * len(layers)
        if used < 3:
            assert chosen.forwards['backbone[-1]'].shares == ('nothing' if used == 1 else 'the prefix')


TWO_CLASSES = dict(num_classes=2, out_channels=1, threshold=0.5)


@pytest.mark.parametrize('options, meta', [
    ({}, dict(ori_shape=(29, 50), img_shape=(37, 61), pad_shape=(37, 61))),
    ({}, dict(ori_shape=(30, 64), img_shape=(30, 64), pad_shape=(37, 66), padding_size=[0, 2, 0, 7])),
    ({}, dict(ori_shape=(55, 128), img_shape=(30, 64), pad_shape=(37, 66), padding_size=[2, 0, 4, 3])),
    ({}, dict(flip=True, flip_direction='horizontal')),
    ({}, dict(ori_shape=(50, 70), flip=True, flip_direction='vertical')),
    (TWO_CLASSES, {}),  # One output for both.
])  # fmt: skip
def test_labels_are_made_as_mmseg_makes_them(options: dict, meta: dict) -> None:
    model, plan = tiny_segmentor(**options), tiny_plan(BOTH)
    data = segmentation_batch(2, *meta.get('pad_shape', (37, 61)), **meta)
    for sample in data['data_samples']:
        sample.gt_sem_seg.data %= options.get('num_classes', 256)
    chosen = sweep(model, plan)
    assert same_pixels(chosen.count(data, range(2)), plain(model, plan, data))
    assert levels(chosen) == [3, 3]


def test_layers_of_all_levels_in_one_pass() -> None:
    model, data, said = tiny_segmentor(), segmentation_batch(1, 37, 61), []
    plan = tiny_plan([POOLED, 'backbone[-1]', 'backbone.layer4'])
    chosen = sweep(model, plan, say=said.append)
    assert same_pixels(chosen.count(data, [0]), plain(model, plan, data))
    assert levels(chosen) == [3, 3, 2]
    assert said[0] == f'sweep at {POOLED}: level 3, all but the pooled branch of ASPPHead is shared'
    assert said[2].startswith('sweep at backbone.layer4: level 2, the layer is neither')
    assert said[3] == 'sweep at backbone.layer4: what comes before the layer is computed once per batch'
    assert not any(module._forward_hooks or 'forward' in vars(module) for module in model.modules())
    assert levels(sweep(model, tiny_plan([POOLED]), '3')) == [3]
    with pytest.raises(ValueError, match="level must be one of auto, 1, 2, 3 for EncoderDecoder, got '4'"):
        sweep(model, plan, '4')


class Rotating(EncoderDecoder):
    """Predicts with its own post-processing, and runs its backbone twice."""

    def predict(self, inputs: Tensor, data_samples: Any = None) -> Any:
        metas = [sample.metainfo for sample in data_samples]
        logits = self.inference(inputs, metas) + self.inference(inputs.flip(-1), metas).flip(-1)
        return self.postprocess_result(logits, data_samples)


@pytest.mark.parametrize('options, level', [(dict(kind=Rotating), 2), (dict(mode='slide'), 1)])
def test_a_model_that_predicts_in_its_own_way_is_counted_as_it_predicts(options: dict, level: int) -> None:
    model, plan, data = tiny_segmentor(**options), tiny_plan([POOLED]), segmentation_batch(1, 40, 56)
    chosen = sweep(model, plan, allow_slide=True)
    assert torch.equal(chosen.count(data, [0]), plain(model, plan, data))
    assert levels(chosen) == [level]
    with pytest.raises(ValueError, match=r'must run once per forward, but ran \d times'):
        sweep(model, plan).count(data, [0])


def test_a_head_that_computes_something_else_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmposenc.mm.heads.deeplabv3 import DeepLabV3

    monkeypatch.setattr(DeepLabV3, 'tail', lambda self, seen: lambda maps: self.head.cls_seg(maps) + 1)
    model, plan, data, said = tiny_segmentor(), tiny_plan([POOLED]), segmentation_batch(1, 37, 61), []
    chosen = sweep(model, plan, say=said.append)
    assert torch.equal(chosen.count(data, [0]), plain(model, plan, data))
    assert levels(chosen) == [2]
    assert f'sweep at {POOLED}: not level 3, as its first variant differs from a plain forward' in said


def test_wrong_and_missing_labels() -> None:
    model, data = tiny_segmentor(), segmentation_batch(1, 32, 64)
    data['data_samples'][0].gt_sem_seg.data[0, 5, 5] = 77
    with pytest.raises(ValueError, match='label 77 in 1 pixels is outside the 5 classes'):
        sweep(model, tiny_plan(BOTH)).count(data, [0])
    assert not any(module._forward_hooks or 'forward' in vars(module) for module in model.modules())
    broken = tiny_segmentor()
    broken.decode_head.conv_seg.bias.data[2] = torch.nan
    with pytest.raises(ValueError, match='the scores must be numbers, got NaN'):
        sweep(broken, tiny_plan(BOTH)).count(segmentation_batch(1, 32, 64), [0])
    del data['data_samples'][0].gt_sem_seg
    with pytest.raises(ValueError, match='a sample has no gt_sem_seg: put LoadAnnotations'):
        sweep(model, tiny_plan(BOTH)).count(data, [0])


@torch.no_grad()
@pytest.mark.parametrize('layer, level', [
    ('neck', 'auto'), ('neck', '1'), ('backbone.layer4', '2'), ('backbone.layer3', '2'),
])  # fmt: skip
def test_top1_and_consistency_are_those_of_plain_forwards(layer: str, level: str) -> None:
    channels = 16 if layer == 'backbone.layer3' else 32
    model, data = tiny_classifier(), classification_batch(6)
    model.head.fc.bias -= model(data['inputs'], mode='tensor').mean(0)  # No class wins everywhere.
    plan = tiny_plan([layer], (0, 3, 8, channels), channels=channels)
    sweep = ClassificationCounts(model, plan, num_images=50, level=level)
    positions = [40, 41, 42, 3, 4, 5]
    counts = sweep.count(data, positions)
    assert counts.shape == (6, plan.num_runs, 3)
    assert (sweep.forwards[layer].shares == 'nothing') == (level == '1')
    (shifted,) = ShiftedViews([8], ['zero_ref'], 50).shifted('cons8_zero_ref', data['inputs'], positions)
    labels = torch.tensor([index % 5 for index in range(6)])

    def predict(images: Tensor, channels: tuple[int, ...]) -> Tensor:
        with ablate_channels(model, layer, channels):
            return model(images, mode='tensor').argmax(1)

    seen = set()
    for order in plan.orders:
        for run, channels in [(0, ()), *order.ablations()]:
            first, second = (predict(images, channels) for images in (data['inputs'], shifted))
            hits = torch.stack([first == labels, first == second, torch.ones(6, dtype=torch.bool)], 1)
            assert counts[:, run].tolist() == hits.int().tolist()
            seen.add(tuple(first.tolist()))
    assert len(seen) > 3, 'the variants differ'


def test_bad_input_of_a_classifier() -> None:
    model, plan = tiny_classifier(), tiny_plan(['neck'])
    sweep, data = ClassificationCounts(model, plan, 3, max_shift=0), classification_batch(3)
    assert sweep.count(data, range(3)).shape == (3, plan.num_runs, 2)
    sweep = ClassificationCounts(model, plan, 3)
    for sample in (DataSample(), DataSample().set_gt_label([0, 1])):
        data['data_samples'][1] = sample
        with pytest.raises(ValueError, match='needs one gt_label for each image'):
            sweep.count(data, range(3))
    data = classification_batch(3)
    data['inputs'][1] = torch.nan
    with pytest.raises(ValueError, match='the scores must be numbers, got NaN'):
        sweep.count(data, range(3))
    with pytest.raises(ValueError, match="level must be one of auto, 1, 2 for ImageClassifier, got '3'"):
        ClassificationCounts(model, plan, 3, level='3')
    predict = model.head.predict
    model.head.predict = lambda feats, samples=None: [s.set_pred_label(1) for s in predict(feats, samples)]
    with pytest.raises(ValueError, match='predicts other classes than those with the largest score'):
        sweep.count(classification_batch(3), range(3))
    model.head.forward = lambda feats: (feats[-1], feats[-1])
    with pytest.raises(ValueError, match="mode='tensor' must give one tensor of scores, got tuple"):
        ClassificationCounts(model, plan, 3).count(classification_batch(3), range(3))
