"""RegionIoUMetric against mmseg's IoUMetric, in one process and in two."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmseg.evaluation import IoUMetric

from mmposenc.mm.metrics.region_iou import RegionIoUMetric

CLASSES = tuple('abcdef')
KEYS = ('aAcc', 'mIoU', 'mAcc', 'mDice')


def make_samples(number=3, height=9, width=21, void=0.2, classes=5, seed=0):
    """Random label maps, three quarters of them predicted; class f is absent, e and up only on the right."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for i in range(number):
        shape = (1, height, width + i)
        labels = torch.randint(0, classes, shape, generator=generator)
        labels[..., : width // 2] %= 4
        prediction = torch.randint(0, classes, shape, generator=generator)
        prediction = torch.where(torch.rand(shape, generator=generator) < 0.75, labels, prediction)
        labels[torch.rand(shape, generator=generator) < void] = 255
        samples.append({'gt_sem_seg': {'data': labels}, 'pred_sem_seg': {'data': prediction}})
    return samples


def evaluate(metric, samples, size=None, classes=CLASSES):
    metric.dataset_meta = {'classes': classes}
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples) if size is None else size)


def host_figures(samples, first, last):
    """Of the columns whose centres lie between two shares of the width."""
    crops = []
    for sample in samples:
        width = sample['gt_sem_seg']['data'].shape[-1]
        columns = slice(math.ceil(first * width - 0.5), math.ceil(last * width - 0.5))
        crops.append({key: {'data': value['data'][..., columns]} for key, value in sample.items()})
    return evaluate(IoUMetric(iou_metrics=['mIoU', 'mDice'], prefix='host'), crops)


@pytest.mark.parametrize('seed', range(3))
def test_overall_and_regions_equal_the_hosts_metric(seed):
    samples = make_samples(seed=seed)
    metric = RegionIoUMetric()
    figures = evaluate(metric, samples)
    assert evaluate(metric, samples) == figures, 'it starts from nothing again'
    bounds = dict(left=(0, 1 / 2), center=(1 / 4, 3 / 4), right=(1 / 2, 1), overall=(0, 1))
    hosts = {region: host_figures(samples, *columns) for region, columns in bounds.items()}
    host = {f'{region}/{key}': hosts[region][f'host/{key}'] for region in hosts for key in KEYS}
    assert {name: f'{value:.2f}' for name, value in figures.items()} == {k: f'{v:.2f}' for k, v in host.items()}
    assert all(type(value) is float for value in figures.values())
    assert figures['left/mIoU'] != pytest.approx(figures['right/mIoU'], abs=0.1)


def test_figures_by_hand():
    labels, prediction = torch.tensor([[[0, 0, 1, 255], [0, 1, 1, 2]]]), torch.tensor([[[0, 1, 1, 0], [0, 1, 0, 1]]])
    samples = [{'gt_sem_seg': {'data': labels}, 'pred_sem_seg': {'data': prediction}}]
    figures = evaluate(RegionIoUMetric({'left': (0, 0, 0.5, 1)}, classwise=True), samples, classes=('a', 'b', 'c'))
    left = {'left/IoU/a': 200 / 3, 'left/IoU/b': 50, 'left/IoU/c': float('nan'), 'left/mIoU': (200 / 3 + 50) / 2}
    overall = {'overall/IoU/c': 0, 'overall/mIoU': 30, 'overall/Acc/a': 200 / 3, 'overall/Dice/b': 400 / 7}
    expected = {**left, **overall}
    assert {name: figures[name] for name in expected} == pytest.approx(expected, nan_ok=True)


@pytest.fixture
def printed(monkeypatch):
    lines = []
    monkeypatch.setattr('mmposenc.mm.metrics.region_iou.print_log', lambda text, **_: lines.append(text))
    return lines


def test_takes_the_place_of_the_hosts_metric_in_a_config(printed):
    # What a leaf that names only the type inherits from a stock mmseg config.
    config = {'type': 'mmposenc.RegionIoUMetric', 'iou_metrics': ['mIoU'], 'prefix': 'camvid'}
    with DefaultScope.overwrite_default_scope('mmseg'):
        evaluator = Evaluator([config, {'type': 'IoUMetric', 'iou_metrics': ['mIoU'], 'prefix': 'host'}])
    evaluator.dataset_meta = {'classes': CLASSES}
    samples = make_samples()
    evaluator.process(samples, {})
    figures = evaluator.evaluate(len(samples))
    assert f'{figures["camvid/overall/mIoU"]:.2f}' == f'{figures["host/mIoU"]:.2f}'
    assert 'camvid/overall/mDice' not in figures
    rows = {line.split()[1]: line.split()[3::2] for line in printed[0].splitlines() if line.startswith('|')}
    assert list(rows) == ['IoU', *CLASSES, 'mean']
    assert rows['f'] == ['nan'] * 4
    assert rows['mean'] == [f'{figures[f"camvid/{region}/mIoU"]:.2f}' for region in rows['IoU']]


@pytest.mark.parametrize('arguments, kind, message', [
    ({'ignore_indx': 11}, TypeError, 'ignore_indx'),
    ({'iou_metrics': ['mFscore']}, ValueError, 'iou_metrics must be among mIoU, mDice, got'),
    ({'regions': {'left': (0.5, 0, 0.5, 1)}}, ValueError, r'region .left. must be \(x0, y0, x1, y1\)'),
])  # fmt: skip
def test_wrong_arguments(arguments, kind, message):
    with pytest.raises(kind, match=message):
        RegionIoUMetric(**arguments)


def test_wrong_data(printed):
    samples = make_samples()
    for given, size, classes, message in (
        (samples, 3, (), r"needs dataset_meta\['classes'\]"),
        ([{'pred_sem_seg': {'data': torch.zeros(1, 2, 4)}}], 1, CLASSES, 'a sample has no gt_sem_seg'),
        (samples, 3, CLASSES[:4], r'label 4 in \d+ pixels is outside the 4 classes'),
        (samples * 2, 3, CLASSES, '6 images were evaluated of a data set of 3'),
        ([], 3, CLASSES, '0 images were evaluated of a data set of 3'),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(RegionIoUMetric(), given, size, classes)
    evaluate(RegionIoUMetric(), samples, size=5)
    assert 'Only 3 of 5 images were evaluated.' in printed


CASES = [(number, round_up) for number in (1, 4, 5) for round_up in (True, False)]


def _rank(rank, world_size, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world_size)
    for case, (number, round_up) in enumerate(CASES):
        samples = make_samples(number)
        mine = list(DefaultSampler(range(number), shuffle=False, round_up=round_up))
        figures = evaluate(RegionIoUMetric(), [samples[i] for i in mine], size=number)
        np.save(folder / f'{case}-{rank}.npy', [len(mine), *figures.values()])
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_give_the_figures_of_one(tmp_path):
    mp.start_processes(_rank, (2, tmp_path), nprocs=2, start_method='fork')  # A fork imports nothing again.
    for case, (number, round_up) in enumerate(CASES):
        expected = list(evaluate(RegionIoUMetric(), make_samples(number)).values())
        seen = 0
        for rank in range(2):
            count, *figures = np.load(tmp_path / f'{case}-{rank}.npy')
            assert figures == expected
            seen += count
        assert seen == (number + number % 2 if round_up else number)
