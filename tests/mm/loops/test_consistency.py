"""ShiftConsistencyLoop measures what shift_consistency does, through the Runner, with mmpretrain's own parts."""

import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.models import ImageClassifier
from planted_segmenter import make_runner as tiny_runner
from torch import nn

from mmposenc.mm.loops import ShiftConsistencyLoop
from mmposenc.mm.metrics import ShiftConsistencyMetric
from mmposenc.mm.models import BatchPreprocessor
from mmposenc.shifts import draw_shifts, shift_consistency

METRIC = {'type': 'mmposenc.ShiftConsistencyMetric'}
SHIFTING = ['zero_pair', 'zero_ref', 'roll_ref', 'roll_pair', 'reflect_ref', 'reflect_pair']
SETTING = {'max_shifts': [1, 3], 'protocols': [*SHIFTING, 'crop_pair'], 'crop_size': 4, 'seed': 7}


class Images:
    """A split in memory, pixels and labels 0 to 2: a batch is one gather."""

    def __init__(self, number=23, side=6, first=0):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 3, (number, 3, side, side), dtype=torch.uint8, generator=generator)
        self.labels, self.first = torch.randint(0, 3, (number,), generator=generator), first

    def __len__(self):
        return len(self.labels)

    def __getitems__(self, indices):
        indices = torch.tensor(indices)
        return {'inputs': self.images[indices], 'labels': self.labels[indices], 'indices': indices + self.first}


class PixelClassifier(BaseModel):
    """Its prediction is the value of one pixel of the first channel, unless `output` is given."""

    def __init__(self, row=1, column=2, output=None, **preprocessor):
        super().__init__(BatchPreprocessor(**preprocessor))
        self.row, self.column, self.output = row, column, output
        self.weight = nn.Parameter(torch.ones(1))
        self.autocast = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        self.autocast.append(torch.is_autocast_enabled('cpu'))
        if self.output is not None:
            return self.output(inputs)
        return nn.functional.one_hot(inputs[:, 0, self.row, self.column].round().long(), 3).float() * self.weight


def loader(dataset, batch_size=4, **sampler):
    sampler = {'type': 'DefaultSampler', 'shuffle': False, **sampler}
    collate = (lambda batch: batch) if isinstance(dataset, Images) else {'type': 'pseudo_collate'}
    return dict(dataset=dataset, batch_size=batch_size, num_workers=0, sampler=sampler, collate_fn=collate)


@pytest.fixture
def make_runner(tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, '_log_env', lambda self, env_cfg: None)  # asks every compiler for its version
    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cpu')

    def make(model, dataloader, evaluator=METRIC, launcher='none', **loop):
        cfg = {'type': 'mmposenc.ShiftConsistencyLoop', **loop}
        parts = {'dataloader': dataloader, 'cfg': cfg, 'evaluator': evaluator}
        stages = {f'{stage}_{name}': part for stage in ('val', 'test') for name, part in parts.items()}
        wrapper = {'model_wrapper_cfg': {'type': 'MMDistributedDataParallel', 'device_ids': None}}
        options = dict(launcher=launcher, default_scope='mmpretrain', log_level='ERROR', cfg=wrapper)
        return tiny_runner(model, {}, tmp_path, **stages, **options)

    return make


def recorded(runner):
    """The hooks that will be called: name and arguments."""
    calls, call = [], runner.call_hook

    def call_hook(name, **arguments):
        calls.append((name, arguments))
        call(name, **arguments)

    runner.call_hook = call_hook
    return calls


@pytest.fixture
def expected():
    """The plain function on the same images, for the rows of the loop's metrics."""
    data, model = Images(), PixelClassifier()
    card = shift_consistency(model, [(data.images.float(), data.labels)], **SETTING)
    metrics = {'accuracy/top1': card.top1}
    for row in card.table():
        name = f'consistency/cons{row["max_shift"] or ""}_{row["protocol"]}'
        metrics |= {f'{name}{end}': row[f'consistency{end}'] for end in ('', '_low', '_high', '_correct')}
    assert len(set(metrics.values())) > 20
    return metrics, card


def test_equals_the_plain_function_in_one_pass(make_runner, expected):
    runner = make_runner(PixelClassifier(), loader(Images()), **SETTING)
    runner.val_loop.consistency.results.append((99, 0, 0, {}))  # of a pass that was broken off
    metrics = runner.val()
    assert metrics == expected[0]
    assert all(type(value) is float for value in metrics.values())
    assert runner.val_loop.card.table() == expected[1].table()
    evaluator = Evaluator([ShiftConsistencyMetric()])  # an object, and twice
    for _ in range(2):
        assert ShiftConsistencyLoop(runner, runner.val_dataloader, evaluator, **SETTING).run() == metrics
    for batch_size, sampler in ((1, {}), (100, {}), (4, {'shuffle': True, 'seed': 3})):
        assert make_runner(PixelClassifier(), loader(Images(), batch_size, **sampler), **SETTING).val() == metrics


@pytest.mark.gpu
@pytest.mark.parametrize('fp16', [False, True])
def test_device(make_runner, expected, monkeypatch, fp16):
    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cuda')
    model = PixelClassifier()
    assert make_runner(model, loader(Images()), fp16=fp16, **SETTING).val() == expected[0]
    assert model.weight.is_cuda


@pytest.mark.dist
@pytest.mark.parametrize('sampler', [{'round_up': False}, {'shuffle': True, 'seed': 3}], ids=str)
def test_two_processes(make_runner, tmp_path, expected, sampler):
    mp.start_processes(_rank, (tmp_path, make_runner, sampler), nprocs=2, start_method='fork')
    results = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
    assert sum(count for count, _ in results) == 24 - (not sampler.get('round_up', True))
    assert [metrics for _, metrics in results] == [expected[0]] * 2


def _rank(rank, folder, make_runner, sampler):
    torch.set_num_threads(1)
    os.environ['LOCAL_RANK'] = str(rank)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    runner = make_runner(PixelClassifier(), loader(Images(), 5, **sampler), launcher='pytorch', **SETTING)
    metrics = runner.val()
    if not isinstance(runner.model, nn.parallel.DistributedDataParallel):
        raise TypeError('the model was to be wrapped')
    torch.save((len(runner.val_dataloader.sampler), metrics), folder / f'{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()


class Digits10(BaseDataset):
    """Noise with labels, in mmpretrain's per-sample form."""

    METAINFO = {'classes': [str(i) for i in range(10)]}

    def load_data_list(self):
        noise = np.random.default_rng(0).integers(0, 256, (11, 12, 12, 3), dtype=np.uint8)
        return [{'img': image, 'gt_label': i % 10} for i, image in enumerate(noise)]


def stock_classifier(**preprocessor):
    torch.manual_seed(0)
    model = ImageClassifier(
        backbone={'type': 'ResNet_CIFAR', 'depth': 18, 'stem_channels': 4, 'base_channels': 4},
        neck={'type': 'GlobalAveragePooling'},
        head={'type': 'LinearClsHead', 'num_classes': 10, 'in_channels': 32},
        data_preprocessor={'type': 'ClsDataPreprocessor', 'mean': [120] * 3, 'std': [20] * 3, **preprocessor},
    )
    model(torch.randn(64, 3, 12, 12))  # statistics for the batch norms
    nn.init.normal_(model.head.fc.weight, std=3)
    return model.train()


def packed(meta_keys=('sample_idx',)):
    return Digits10(data_root='', ann_file='', pipeline=[{'type': 'PackInputs', 'meta_keys': meta_keys}])


def test_stock_classifier_and_accuracy(make_runner):
    """Against a loop over single images, moved by slicing. The metric is added to an evaluator without it."""
    model = stock_classifier()
    runner = make_runner(model, loader(packed()), [{'type': 'Accuracy', 'topk': (1, 5)}], max_shifts=[5])
    calls = recorded(runner)
    metrics = runner.val()
    shifts = draw_shifts('zero_ref', (range(-5, 6),) * 2, 11)[:, 0].tolist()
    same = top1 = top5 = 0
    for i, (dy, dx) in enumerate(shifts):
        padded = torch.zeros(3, 22, 22)
        padded[:, 5 + dy : 17 + dy, 5 + dx : 17 + dx] = image = (packed()[i]['inputs'].float() - 120) / 20
        with torch.no_grad():
            reference, shifted = model(torch.stack([image, padded[:, 5:17, 5:17]]))
        same += int(reference.argmax() == shifted.argmax())
        top1 += int(reference.argmax() == i % 10)
        top5 += int(i % 10 in reference.topk(5).indices)
    assert 0 < same < 11
    assert metrics['consistency/cons5_zero_ref'] == 100 * same / 11
    assert metrics['accuracy/top1'] == 100 * top1 / 11
    assert metrics['accuracy/top5'] == pytest.approx(100 * top5 / 11)
    outputs = [sample for name, arguments in calls if name == 'after_val_iter' for sample in arguments['outputs']]
    assert [sample.sample_idx for sample in outputs] == list(range(11))
    assert all(sample.pred_score.sum() == pytest.approx(1) for sample in outputs)


@pytest.mark.parametrize('stage', ['val', 'test'])
def test_hooks_of_either_stage(make_runner, stage):
    runner = make_runner(stock_classifier(), loader(packed(), 6))
    calls = recorded(runner)
    metrics = getattr(runner, stage)()
    iterations = [(f'{when}_{stage}_iter', i) for i in (0, 1) for when in ('before', 'after')]
    around = [f'before_{stage}', f'before_{stage}_epoch', f'after_{stage}_epoch', f'after_{stage}']
    expected = [*((name, None) for name in around[:2]), *iterations, *((name, None) for name in around[2:])]
    assert [(name, given.get('batch_idx')) for name, given in calls if stage in name] == expected
    assert dict(calls)[f'after_{stage}_epoch'] == {'metrics': metrics}
    assert not runner.model.training


def test_labels_of_the_preprocessor_count(make_runner):
    """It may change them, as it does where it composes a grid."""
    data = Images(6, 9)
    data.images *= 0
    data.labels *= 0
    moved = {'test_transforms': [lambda batch: {**batch, 'labels': batch['labels'] + 1}]}
    for options, top1 in (({}, 100), (moved, 0)):
        assert make_runner(PixelClassifier(**options), loader(data)).val()['accuracy/top1'] == top1


@pytest.mark.parametrize('fp16', [False, True])
def test_autocast(make_runner, fp16):
    model = PixelClassifier()
    make_runner(model, loader(Images(4, 9)), protocols=['zero_pair'], fp16=fp16).val()
    assert model.autocast == [fp16] * 3


def transformed(transform):
    """Samples that a transform has changed, one a batch."""
    data = packed()
    data.pipeline.transforms.insert(0, transform)
    return loader(data, 1)


def unequal_sizes():
    sizes = iter([12, 12, 12, 12, 10])
    return transformed(lambda result: {**result, 'img': result['img'][: next(sizes)]})


def two_labels():
    return transformed(lambda result: {'img': result['img'], 'sample_idx': result['sample_idx'], 'gt_label': [0, 1]})


def pixels(**options):
    return lambda: loader(Images(23, 9, **options))


TWO_VIEWS = [lambda batch: {**batch, 'inputs': [batch['inputs']] * 2}]


@pytest.mark.parametrize('model, data, message', [
    (lambda: PixelClassifier(output=lambda x: (x.mean((2, 3)),)), pixels(), 'return scores, got tuple; add a head'),
    (stock_classifier, unequal_sizes, r'one size, got \[\(10, 12\), \(12, 12\)\]'),
    (lambda: stock_classifier(pad_size_divisor=32), lambda: loader(packed()), r'images of \[\(12, 12\)\] px to \(32'),
    (lambda: PixelClassifier(test_transforms=TWO_VIEWS), pixels(), r'one tensor \(N, C, H, W\) after .*, got list'),
    (stock_classifier, lambda: loader(packed(())), r'sample_idx from 0 to 10, .* got \[None, .*meta_keys of PackInp'),
    (PixelClassifier, pixels(first=20), r'from 0 to 22, .* got \[20, 21, 22, 23\]'),
    (stock_classifier, two_labels, 'every sample needs one gt_label, got none'),
])  # fmt: skip
def test_bad_input(make_runner, model, data, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_runner(model(), data()).val()
