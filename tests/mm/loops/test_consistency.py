"""ShiftConsistencyLoop measures what shift_consistency does, through the Runner, with mmpretrain's own parts."""

import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.models import ImageClassifier
from torch import nn

from mmposenc.mm.loops import ShiftConsistencyLoop
from mmposenc.mm.metrics import ShiftConsistencyMetric
from mmposenc.mm.models import BatchPreprocessor
from mmposenc.shifts import draw_shifts, shift_consistency

METRIC = {'type': 'mmposenc.ShiftConsistencyMetric'}
SHIFTING = ['zero_ref', 'zero_pair', 'roll_ref', 'roll_pair', 'reflect_ref', 'reflect_pair']
SETTING = {'max_shifts': [1, 3], 'protocols': [*SHIFTING, 'crop_pair'], 'crop_size': 4, 'seed': 7}


class Images:
    """A split in memory: a batch is one gather."""

    def __init__(self, images, labels, first=0):
        self.images, self.labels, self.first = torch.as_tensor(images), torch.as_tensor(labels), first

    def __len__(self):
        return len(self.labels)

    def __getitems__(self, indices):
        indices = torch.tensor(indices)
        return {'inputs': self.images[indices], 'labels': self.labels[indices], 'indices': indices + self.first}


class PixelClassifier(BaseModel):
    """Its prediction is the value of one pixel of the first channel."""

    def __init__(self, row, column, classes, data_preprocessor=None):
        super().__init__(data_preprocessor or BatchPreprocessor())
        self.row, self.column, self.classes = row, column, classes
        self.weight = nn.Parameter(torch.ones(1))
        self.autocast = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        self.autocast.append(torch.is_autocast_enabled('cpu'))
        value = inputs[:, 0, self.row, self.column].round().long()
        return nn.functional.one_hot(value, self.classes).float() * self.weight


class Fixed(BaseModel):
    """Gives the same output for whatever it sees."""

    def __init__(self, output):
        super().__init__(BatchPreprocessor())
        self.output = output

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.output(inputs)


def random_images(number=23, side=6, classes=3):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, classes, (number, 3, side, side), dtype=torch.uint8, generator=generator)
    return Images(images, torch.randint(0, classes, (number,), generator=generator))


def loader(dataset, batch_size=4, **sampler):
    return {
        'dataset': dataset,
        'batch_size': batch_size,
        'num_workers': 0,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False, **sampler},
        'collate_fn': (lambda batch: batch) if isinstance(dataset, Images) else {'type': 'pseudo_collate'},
    }


@pytest.fixture
def make_runner(tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, '_log_env', lambda self, env_cfg: None)  # asks every compiler for its version
    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cpu')

    def make(model, dataloader, evaluator=METRIC, hooks=None, launcher='none', **loop):
        part = {'type': 'mmposenc.ShiftConsistencyLoop', **loop}
        return Runner(
            model,
            str(tmp_path),
            val_dataloader=dataloader,
            val_cfg=part,
            val_evaluator=evaluator,
            test_dataloader=dataloader,
            test_cfg=part,
            test_evaluator=evaluator,
            custom_hooks=hooks,
            launcher=launcher,
            default_scope='mmpretrain',
            log_level='ERROR',
            experiment_name=f'{tmp_path.name}_{np.random.default_rng().integers(2**60)}',
            cfg={'model_wrapper_cfg': {'type': 'MMDistributedDataParallel', 'device_ids': None}},
        )

    return make


@pytest.fixture
def measure(make_runner):
    """Run the validation loop; the same as `runner.val()` in all but the set-up."""

    def run(model, dataset, batch_size=4, evaluator=METRIC, sampler=None, **loop):
        return make_runner(model, loader(dataset, batch_size, **(sampler or {})), evaluator, **loop).val()

    return run


@pytest.fixture
def expected():
    """The plain function on the same images, for the rows of the loop's metrics."""
    data, model = random_images(), PixelClassifier(1, 2, 3)
    card = shift_consistency(model, [(data.images.float(), data.labels)], **SETTING)
    metrics = {'accuracy/top1': card.top1}
    for row in card.table():
        name = f'consistency/cons{row["max_shift"] or ""}_{row["protocol"]}'
        ends = {'': '', '_low': '_low', '_high': '_high', '_correct': '_correct'}
        metrics |= {f'{name}{end}': row[f'consistency{column}'] for end, column in ends.items()}
    assert len(set(metrics.values())) > 20
    return metrics, card


class TestEqualsThePlainFunction:
    def test_in_one_pass(self, make_runner, expected):
        runner = make_runner(PixelClassifier(1, 2, 3), loader(random_images()), **SETTING)
        runner.val_loop.consistency.results.append((99, 0, 0, {}))  # of a pass that was broken off
        metrics = runner.val()
        assert metrics == expected[0]
        assert all(type(value) is float for value in metrics.values())
        assert runner.val_loop.card.table() == expected[1].table()

    @pytest.mark.parametrize('batch_size, sampler', [(1, {}), (100, {}), (4, {'shuffle': True, 'seed': 3})])
    def test_however_the_images_come(self, measure, expected, batch_size, sampler):
        metrics = measure(PixelClassifier(1, 2, 3), random_images(), batch_size, sampler=sampler, **SETTING)
        assert metrics == expected[0]

    @pytest.mark.gpu
    @pytest.mark.parametrize('fp16', [False, True])
    def test_device(self, measure, expected, monkeypatch, fp16):
        monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cuda')
        model = PixelClassifier(1, 2, 3)
        assert measure(model, random_images(), fp16=fp16, **SETTING) == expected[0]
        assert model.weight.is_cuda

    @pytest.mark.dist
    @pytest.mark.parametrize('sampler', [{}, {'round_up': False}, {'shuffle': True, 'seed': 3}], ids=str)
    def test_two_processes(self, make_runner, tmp_path, expected, sampler):
        context = mp.get_context('fork')
        work = (tmp_path, make_runner, sampler)
        processes = [context.Process(target=_rank, args=(rank, *work)) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
        results = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
        assert sum(count for count, _ in results) == 24 - (not sampler.get('round_up', True))
        assert [metrics for _, metrics in results] == [expected[0]] * 2


def _rank(rank, folder, make_runner, sampler):
    torch.set_num_threads(1)
    os.environ['LOCAL_RANK'] = str(rank)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    data = loader(random_images(), 5, **sampler)
    runner = make_runner(PixelClassifier(1, 2, 3), data, launcher='pytorch', **SETTING)
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


class Recorder(Hook):
    """Writes down which hooks are called, and with what."""

    def __init__(self):
        self.calls, self.outputs, self.metrics = [], [], []

    def __getattribute__(self, name):
        if not name.startswith(('before_val', 'after_val', 'before_test', 'after_test')):
            return super().__getattribute__(name)

        def record(runner, batch_idx=None, data_batch=None, outputs=(), metrics=None):
            self.calls.append(name if batch_idx is None else f'{name} {batch_idx}')
            self.outputs += outputs
            self.metrics += [metrics] if metrics else []

        return record


class TestMmpretrain:
    """Its classifier, pipeline, preprocessor and Accuracy."""

    def test_stock_classifier_and_accuracy(self, make_runner):
        """Against a loop over single images, moved by slicing."""
        model, hook = stock_classifier(), Recorder()
        evaluator = [{'type': 'Accuracy', 'topk': (1, 5)}, {'type': 'mmposenc.ShiftConsistencyMetric'}]
        runner = make_runner(model, loader(packed()), evaluator, [hook], max_shifts=[5], protocols=['zero_ref'])
        metrics = runner.val()
        shifts = draw_shifts('zero_ref', (range(-5, 6),) * 2, 11)[:, 0].tolist()
        same = top1 = top5 = 0
        for i, (dy, dx) in enumerate(shifts):
            image = (packed()[i]['inputs'].float() - 120) / 20
            padded = torch.zeros(3, 22, 22)
            padded[:, 5 + dy : 17 + dy, 5 + dx : 17 + dx] = image
            with torch.no_grad():
                reference, shifted = model(torch.stack([image, padded[:, 5:17, 5:17]]))
            same += int(reference.argmax() == shifted.argmax())
            top1 += int(reference.argmax() == i % 10)
            top5 += int(i % 10 in reference.topk(5).indices)
        assert 0 < same < 11
        assert metrics['consistency/cons5_zero_ref'] == 100 * same / 11
        assert metrics['accuracy/top1'] == 100 * top1 / 11
        assert metrics['accuracy/top5'] == pytest.approx(100 * top5 / 11)
        assert [sample.sample_idx for sample in hook.outputs] == list(range(11))
        assert all(sample.pred_score.sum() == pytest.approx(1) for sample in hook.outputs)

    def test_metric_is_added_to_an_evaluator_without_it(self, make_runner):
        accuracy = {'type': 'Accuracy', 'topk': (5,)}
        plain = make_runner(stock_classifier(), loader(packed()), max_shifts=[3]).val()
        beside = make_runner(stock_classifier(), loader(packed()), accuracy, max_shifts=[3]).val()
        assert beside.pop('accuracy/top5') > 0
        assert str(beside) == str(plain)  # NaN among them

    @pytest.mark.parametrize('stage', ['val', 'test'])
    def test_hooks_of_either_stage(self, make_runner, stage):
        hook = Recorder()
        runner = make_runner(stock_classifier(), loader(packed(), 6), hooks=[hook])
        metrics = getattr(runner, stage)()
        iterations = [f'{when}_{stage}_iter {i}' for i in (0, 1) for when in ('before', 'after')]
        before, after = [f'before_{stage}', f'before_{stage}_epoch'], [f'after_{stage}_epoch', f'after_{stage}']
        assert hook.calls == [*before, *iterations, *after]
        assert hook.metrics == [metrics]
        assert not runner.model.training

    def test_labels_of_the_preprocessor_count(self, measure):
        """It may change them, as it does where it composes a grid."""
        data = Images(torch.zeros(6, 3, 9, 9, dtype=torch.uint8), [0] * 6)
        moved = BatchPreprocessor(test_transforms=[lambda batch: {**batch, 'labels': batch['labels'] + 1}])
        assert measure(PixelClassifier(0, 0, 2), data)['accuracy/top1'] == 100.0
        assert measure(PixelClassifier(0, 0, 2, moved), data)['accuracy/top1'] == 0.0

    def test_preprocessor_that_makes_no_samples(self, measure):
        data = random_images(side=9)
        expected = measure(PixelClassifier(4, 4, 3), data)
        assert measure(PixelClassifier(4, 4, 3, BaseDataPreprocessor()), data) == expected

    @pytest.mark.parametrize('fp16', [False, True])
    def test_autocast(self, measure, fp16):
        model = PixelClassifier(4, 4, 3)
        measure(model, random_images(4, side=9), protocols=['zero_pair'], fp16=fp16)
        assert model.autocast == [fp16] * 3

    def test_an_evaluator_may_be_given_as_an_object(self, make_runner):
        runner = make_runner(PixelClassifier(0, 0, 3), loader(random_images(side=9)))
        expected = runner.val()
        evaluator = Evaluator([ShiftConsistencyMetric()])
        for _ in range(2):
            assert ShiftConsistencyLoop(runner, runner.val_dataloader, evaluator).run() == expected


TWO_VIEWS = [lambda batch: {**batch, 'inputs': [batch['inputs']] * 2}]


def with_transform(transform):
    data = packed()
    data.pipeline.transforms.insert(0, transform)
    return loader(data, 1)


def unequal_sizes():
    sizes = iter([12, 12, 12, 12, 10])
    return with_transform(lambda result: {**result, 'img': result['img'][: next(sizes)]})


def without_label(**label):
    return with_transform(lambda result: {'img': result['img'], 'sample_idx': result['sample_idx'], **label})


def shifted_indices():
    data = random_images(side=9)
    data.first = 20
    return loader(data)


@pytest.mark.parametrize(
    'model, data, options, message',
    [
        (lambda: PixelClassifier(0, 0, 3), lambda: loader(random_images()), {}, r'image \(6x6 px\), got 8'),
        (lambda: Fixed(lambda x: x.mean((2, 3)) * float('nan')), None, {}, 'got NaN for 4 of 4 images'),
        (lambda: Fixed(lambda x: x), None, {}, r'scores \(4, classes\) .*add a classification head'),
        (lambda: Fixed(lambda x: (x.mean((2, 3)),)), None, {}, 'must return scores, got tuple; add a head'),
        (lambda: Fixed(lambda x: x[:1].mean((2, 3))), None, {}, r'scores \(4, classes\)'),
        (lambda: Fixed(lambda x: x.mean((2, 3))[:, :2]), None, {}, 'labels must be from 0 to 1, the classes of'),
        (stock_classifier, unequal_sizes, {}, r'one size, got \[\(10, 12\), \(12, 12\)\]'),
        (
            lambda: stock_classifier(pad_size_divisor=32),
            lambda: loader(packed()),
            {},
            r'padded images of \[\(12, 12\)\] px to \(32, 32\)',
        ),
        (
            lambda: PixelClassifier(0, 0, 3, BatchPreprocessor(test_transforms=TWO_VIEWS)),
            None,
            {},
            r'one tensor \(N, C, H, W\) after preprocessing, got list',
        ),
        (
            stock_classifier,
            lambda: loader(packed(meta_keys=())),
            {},
            r'sample_idx from 0 to 10, .* got \[None, .*meta_keys of PackInputs',
        ),
        (lambda: PixelClassifier(0, 0, 3), shifted_indices, {}, r'from 0 to 22, .* got \[20, 21, 22, 23\]'),
        (stock_classifier, without_label, {}, 'every sample needs one gt_label, got none or several'),
        (stock_classifier, lambda: without_label(gt_label=[0, 1]), {}, 'every sample needs one gt_label, got none'),
        (
            lambda: PixelClassifier(0, 0, 3),
            lambda: {**loader(random_images(side=9)), 'drop_last': True},
            {},
            'got 20 different ones for 23 samples',
        ),
    ],
)
def test_bad_input(make_runner, model, data, options, message):
    runner = make_runner(model(), data() if data else loader(random_images(side=9)), **options)
    with pytest.raises((TypeError, ValueError), match=message):
        runner.val()
