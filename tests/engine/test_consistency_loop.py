"""ShiftConsistencyLoop with classifiers whose figures can be worked out, and with mmpretrain's own."""

import math
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

from mmposenc.mm.loops.consistency import ShiftConsistencyLoop
from mmposenc.mm.metrics.shift_consistency import ShiftConsistencyMetric, draw_shifts
from mmposenc.mm.models.batch_preprocessor import BatchPreprocessor

METRIC = {'type': 'mmposenc.ShiftConsistencyMetric'}
SHIFTING = ['zero_ref', 'zero_pair', 'roll_ref', 'roll_pair', 'reflect_ref', 'reflect_pair']


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


def random_images(number=23, side=6, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
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


class TestFigures:
    def test_worked_out_by_hand(self, measure, monkeypatch):
        """Four times the image 0..15 (4x4); the pixel at (1, 1) says 5 and, shifted by (dy, dx), 5 - 4 dy - dx."""
        image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(4, 3, 4, 4)
        ones = torch.tensor([[[0, 0]], [[1, 0]], [[2, 0]], [[0, -1]]])
        pairs = torch.tensor([[[0, 0], [1, 0]], [[2, 0], [0, 2]], [[1, 0], [1, 0]], [[0, -1], [0, -1]]])
        tables = {'ref': ones, 'pair': pairs}
        monkeypatch.setattr('mmposenc.shifts.shifted_views.draw_shifts', lambda name, *_: tables[name.split('_')[1]])
        figures = measure(
            PixelClassifier(1, 1, 16), Images(image, [5, 5, 5, 6]), batch_size=3, max_shifts=[2], protocols=SHIFTING
        )
        shown = {key.removeprefix('consistency/cons2_'): value for key, value in figures.items()}
        assert {key: value for key, value in shown.items() if not key.endswith(('_low', '_high'))} == {
            'accuracy/top1': 75.0,
            # Second views see 5, 1, (outside: 0 | 13 | 5), 6; the first sees 5 = the label of three.
            'zero_ref': 25.0,
            'zero_ref_correct': pytest.approx(100 / 3),
            'roll_ref': 25.0,
            'roll_ref_correct': pytest.approx(100 / 3),
            'reflect_ref': 50.0,
            'reflect_ref_correct': pytest.approx(200 / 3),
            # (5, 1), ((0, 0) | (13, 7) | (5, 5)), (1, 1), (6, 6); the labels are 5, 5, 5, 6.
            'zero_pair': 75.0,
            'zero_pair_correct': 50.0,
            'roll_pair': 50.0,
            'roll_pair_correct': 50.0,
            'reflect_pair': 75.0,
            'reflect_pair_correct': pytest.approx(200 / 3),
        }
        assert shown['reflect_ref_low'] == pytest.approx(15.004, abs=1e-3)  # 2 of 4
        assert shown['reflect_ref_high'] == pytest.approx(84.996, abs=1e-3)

    def test_constant_classifier(self, measure):
        data = random_images()
        constant = Fixed(lambda inputs: torch.zeros(len(inputs), 3))
        protocols = [*SHIFTING, 'crop_pair']
        figures = measure(constant, data, batch_size=9, max_shifts=[1, 3], protocols=protocols, crop_size=4)
        keys = [f'consistency/cons{n}_{name}' for n in (1, 3) for name in SHIFTING] + ['consistency/cons_crop_pair']
        ends = ('', '_low', '_high', '_correct')
        assert set(figures) == {'accuracy/top1'} | {key + end for key in keys for end in ends}
        assert figures.pop('accuracy/top1') == 100 * int((data.labels == 0).sum()) / 23
        assert {value for key, value in figures.items() if not key.endswith('_low')} == {100.0}
        (low,) = {value for key, value in figures.items() if key.endswith('_low')}
        assert low == pytest.approx(100 * 23 / (23 + 3.8414588))

    @pytest.mark.parametrize('max_shift', [1, 4])
    def test_shares_follow_from_the_draws(self, measure, max_shift):
        """The corner pixel of an image of ones says 1, and 0 as soon as it is shifted right or down."""
        data = Images(torch.ones(300, 3, 6, 6, dtype=torch.uint8), [1] * 300)
        setting = {'max_shifts': [max_shift], 'protocols': ['zero_ref', 'zero_pair']}
        figures = measure(PixelClassifier(0, 0, 2), data, 64, **setting)
        spans = (range(-max_shift, max_shift + 1),) * 2
        (seen,) = (draw_shifts('zero_ref', spans, 300) <= 0).all(-1).T
        first, second = (draw_shifts('zero_pair', spans, 300) <= 0).all(-1).T
        name = f'consistency/cons{max_shift}'
        assert figures[f'{name}_zero_ref'] == 100 * int(seen.sum()) / 300
        assert figures[f'{name}_zero_pair'] == 100 * int((first == second).sum()) / 300
        assert figures[f'{name}_zero_pair_correct'] == 100 * int((first & second).sum()) / int(first.sum())
        assert 0 < figures[f'{name}_zero_ref'] < 100


class TestInvariance:
    """One figure, however the samples come."""

    SETTING = {'max_shifts': [1, 3], 'protocols': [*SHIFTING, 'crop_pair'], 'crop_size': 4, 'seed': 7}

    @pytest.fixture
    def expected(self, measure):
        figures = measure(PixelClassifier(1, 2, 3), random_images(), 23, **self.SETTING)
        assert len({value for key, value in figures.items() if key.endswith(('ref', 'pair'))}) > 5
        return figures

    @pytest.mark.parametrize('batch_size', [1, 4, 100])
    def test_batch_size(self, measure, expected, batch_size):
        assert measure(PixelClassifier(1, 2, 3), random_images(), batch_size, **self.SETTING) == expected

    def test_order(self, measure, expected):
        shuffled = {'shuffle': True, 'seed': 3}
        assert measure(PixelClassifier(1, 2, 3), random_images(), sampler=shuffled, **self.SETTING) == expected

    def test_what_else_is_measured(self, measure, expected):
        setting = {**self.SETTING, 'max_shifts': [3], 'protocols': ['crop_pair', 'roll_pair']}
        figures = measure(PixelClassifier(1, 2, 3), random_images(), **setting)
        assert len(figures) == 9
        assert figures.items() <= expected.items()

    def test_seed_matters(self, measure, expected):
        assert measure(PixelClassifier(1, 2, 3), random_images(), **{**self.SETTING, 'seed': 8}) != expected

    def test_pass_that_was_broken_off_leaves_nothing(self, make_runner, expected):
        runner = make_runner(PixelClassifier(1, 2, 3), loader(random_images()), **self.SETTING)
        runner.val_loop.consistency.results.append((99, 0, 0, {}))
        assert runner.val() == expected

    @pytest.mark.gpu
    @pytest.mark.parametrize('fp16', [False, True])
    def test_device(self, measure, expected, monkeypatch, fp16):
        monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cuda')
        model = PixelClassifier(1, 2, 3)
        assert measure(model, random_images(), fp16=fp16, **self.SETTING) == expected
        assert model.weight.is_cuda

    @pytest.mark.dist
    @pytest.mark.parametrize('sampler', [{}, {'round_up': False}, {'shuffle': True, 'seed': 3}], ids=str)
    @pytest.mark.parametrize('number', [1, 23])
    def test_two_processes(self, measure, make_runner, tmp_path, sampler, number):
        data = random_images(number)
        expected = measure(PixelClassifier(1, 2, 3), data, **self.SETTING)
        context = mp.get_context('fork')
        work = (tmp_path, make_runner, data, sampler, self.SETTING)
        processes = [context.Process(target=_rank, args=(rank, *work)) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
        results = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
        seen = number if not sampler.get('round_up', True) else number + number % 2
        assert sum(count for count, _ in results) == seen
        for _, figures in results:
            assert {key: str(value) for key, value in figures.items()} == {k: str(v) for k, v in expected.items()}


def _rank(rank, folder, make_runner, data, sampler, setting):
    torch.set_num_threads(1)
    os.environ['LOCAL_RANK'] = str(rank)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    model = PixelClassifier(1, 2, 3)
    runner = make_runner(model, loader(data, 5, **sampler), launcher='pytorch', **setting)
    figures = runner.val()
    if not isinstance(runner.model, nn.parallel.DistributedDataParallel):
        raise TypeError('the model was to be wrapped')
    torch.save((len(runner.val_dataloader.sampler), figures), folder / f'{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()


class Digits10(BaseDataset):
    """Noise with labels, in mmpretrain's per-sample form."""

    METAINFO = {'classes': [str(i) for i in range(10)]}

    def load_data_list(self):
        noise = np.random.default_rng(0).integers(0, 256, (11, 12, 12, 3), dtype=np.uint8)
        return [{'img': image, 'gt_label': i % 10} for i, image in enumerate(noise)]


def stock_classifier():
    torch.manual_seed(0)
    model = ImageClassifier(
        backbone={'type': 'ResNet_CIFAR', 'depth': 18, 'stem_channels': 4, 'base_channels': 4},
        neck={'type': 'GlobalAveragePooling'},
        head={'type': 'LinearClsHead', 'num_classes': 10, 'in_channels': 32},
        data_preprocessor={'type': 'ClsDataPreprocessor', 'mean': [120] * 3, 'std': [20] * 3},
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

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls.append(f'after_val_iter {batch_idx}')
        self.outputs += outputs

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls.append(f'after_test_iter {batch_idx}')

    def after_val_epoch(self, runner, metrics=None):
        self.calls.append('after_val_epoch')
        self.metrics.append(metrics)

    def after_test_epoch(self, runner, metrics=None):
        self.calls.append('after_test_epoch')
        self.metrics.append(metrics)


for _name in ('before_val', 'before_val_epoch', 'after_val', 'before_test', 'before_test_epoch', 'after_test'):
    setattr(Recorder, _name, lambda self, runner, name=_name: self.calls.append(name))
for _name in ('before_val_iter', 'before_test_iter'):
    setattr(
        Recorder,
        _name,
        lambda self, runner, batch_idx, data_batch=None, name=_name: self.calls.append(f'{name} {batch_idx}'),
    )


class TestHosts:
    """mmpretrain's classifier, pipeline, preprocessor and Accuracy."""

    def test_stock_classifier_and_accuracy(self, make_runner):
        """Against a loop over single images, moved by slicing."""
        model, hook = stock_classifier(), Recorder()
        evaluator = [{'type': 'Accuracy', 'topk': (1, 5)}, {'type': 'mmposenc.ShiftConsistencyMetric'}]
        runner = make_runner(model, loader(packed()), evaluator, [hook], max_shifts=[5], protocols=['zero_ref'])
        figures = runner.val()
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
        assert figures['consistency/cons5_zero_ref'] == 100 * same / 11
        assert figures['accuracy/top1'] == 100 * top1 / 11
        assert figures['accuracy/top5'] == pytest.approx(100 * top5 / 11)
        assert [sample.sample_idx for sample in hook.outputs] == list(range(11))
        assert all(sample.pred_score.sum() == pytest.approx(1) for sample in hook.outputs)

    def test_metric_is_added_to_an_evaluator_without_it(self, make_runner):
        accuracy = {'type': 'Accuracy', 'topk': (5,)}
        plain = make_runner(stock_classifier(), loader(packed()), max_shifts=[3]).val()
        beside = make_runner(stock_classifier(), loader(packed()), accuracy, max_shifts=[3]).val()
        assert beside.pop('accuracy/top5') > 0
        assert beside == plain

    @pytest.mark.parametrize('stage', ['val', 'test'])
    def test_hooks_of_either_stage(self, make_runner, stage):
        hook = Recorder()
        runner = make_runner(stock_classifier(), loader(packed(), 6), hooks=[hook])
        figures = getattr(runner, stage)()
        iterations = [f'{when}_{stage}_iter {i}' for i in (0, 1) for when in ('before', 'after')]
        before, after = [f'before_{stage}', f'before_{stage}_epoch'], [f'after_{stage}_epoch', f'after_{stage}']
        assert hook.calls == [*before, *iterations, *after]
        assert hook.metrics == [figures]
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


class TestBadInput:
    def test_unknown_protocol(self, measure):
        with pytest.raises(ValueError, match=r'zero_ref, .*, crop_pair, each once; got'):
            measure(PixelClassifier(0, 0, 3), random_images(), protocols=['shift'])

    def test_max_shift_not_smaller_than_the_image(self, measure):
        with pytest.raises(ValueError, match=r'smaller than the image \(6x6 px\), got 8'):
            measure(PixelClassifier(0, 0, 3), random_images())

    def test_crop_not_smaller_than_the_image(self, measure):
        with pytest.raises(ValueError, match=r'2 px smaller than the images \(6x6 px\), got 6'):
            measure(PixelClassifier(0, 0, 3), random_images(), crop_size=6, protocols=['crop_pair'])

    def test_nan_is_not_a_constant_prediction(self, measure):
        model = Fixed(lambda inputs: inputs.mean((2, 3)).log() * 0 + 1)
        data = Images(torch.ones(5, 3, 9, 9, dtype=torch.uint8), [0] * 5)
        data.images[3] = 0
        with pytest.raises(ValueError, match='got NaN for 1 of 5 images'):
            measure(model, data, batch_size=5)

    @pytest.mark.parametrize('output', [lambda x: x, lambda x: (x.mean((2, 3)),), lambda x: x[:1].mean((2, 3))])
    def test_model_without_scores(self, measure, output):
        with pytest.raises(TypeError, match=r'must return scores of shape \(4, classes\), got .*; add a head'):
            measure(Fixed(output), random_images(side=9))

    def test_images_of_several_sizes(self, make_runner):
        data = packed()
        data[0]
        resize = iter([12, 12, 12, 12, 10])
        pipeline = data.pipeline.transforms
        pipeline.insert(0, lambda result: {**result, 'img': result['img'][: next(resize)]})
        with pytest.raises(ValueError, match=r'one size, got \[\(10, 12\), \(12, 12\)\]'):
            make_runner(stock_classifier(), loader(data, 1)).val()

    def test_several_views(self, measure):
        views = BatchPreprocessor(test_transforms=[lambda batch: {**batch, 'inputs': [batch['inputs']] * 2}])
        with pytest.raises(TypeError, match=r'one tensor \(N, C, H, W\) after preprocessing, got list'):
            measure(PixelClassifier(0, 0, 3, views), random_images())

    def test_sample_without_index(self, make_runner):
        with pytest.raises(ValueError, match=r'sample_idx from 0 to 10, .* got \[None, .*meta_keys of PackInputs'):
            make_runner(stock_classifier(), loader(packed(meta_keys=()))).val()

    def test_index_beyond_the_data_set(self, measure):
        data = random_images(side=9)
        data.first = 20
        with pytest.raises(ValueError, match=r'from 0 to 22, .* got \[20, 21, 22, 23\]'):
            measure(PixelClassifier(0, 0, 3), data)

    @pytest.mark.parametrize('label', [{}, {'gt_label': [0, 1]}], ids=['none', 'several'])
    def test_sample_without_one_label(self, make_runner, label):
        data = packed()
        keep = ('img', 'sample_idx')
        data.pipeline.transforms.insert(0, lambda result: {**{key: result[key] for key in keep}, **label})
        with pytest.raises(ValueError, match='every sample needs one gt_label, got none or several'):
            make_runner(stock_classifier(), loader(data)).val()

    def test_dropped_samples(self, make_runner):
        with pytest.raises(ValueError, match='got 20 different ones for 23 samples'):
            make_runner(PixelClassifier(0, 0, 3), {**loader(random_images(side=9)), 'drop_last': True}).val()


def test_an_evaluator_may_be_given_as_an_object(make_runner):
    runner = make_runner(PixelClassifier(0, 0, 3), loader(random_images(side=9)))
    expected = runner.val()
    evaluator = Evaluator([ShiftConsistencyMetric()])
    for _ in range(2):
        loop = ShiftConsistencyLoop(runner, runner.val_dataloader, evaluator)
        assert loop.run() == expected
    assert not math.isnan(expected['consistency/cons8_zero_ref_correct'])
