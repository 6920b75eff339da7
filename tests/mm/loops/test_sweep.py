"""`mmposenc sweep` and its loop: files, resuming, data and metrics that differ, what is typed."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
from mmseg.models import ResNetV1c
from sweep_commands import make_aspp, result, save_inputs
from torch import Tensor

from mmposenc.channels import Sweep
from mmposenc.mm.loops.sweep import _tensor_digest
from mmposenc.shifts import ShiftedViews

ROOT = Path(__file__).parents[2]
Main = Callable[[list[str]], None]
POOLED = 'decode_head.image_pool.0'
SWEEP = ['--num-channels', '0:33:8', '--windows', '8', '--random', '2']
PLAIN = ['--random', '0']


@pytest.fixture
def arguments(segmenter_config: Path, tmp_path: Path) -> list[str]:
    return save_inputs(make_aspp(segmenter_config), 'backbone[-1]', tmp_path)


@pytest.fixture
def sweep(tool: Callable[[str], Main]) -> Main:
    return tool('sweep')


def rows(folder: str, table: str = 'sweep') -> list[dict[str, str]]:
    return list(csv.DictReader(Path(folder, f'{table}.csv').read_text().splitlines()))


def test_a_sweep_of_two_layers(sweep: Main, arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    numbers = ['--num-channels', '0:33:8', '--windows', '8', '--random', '19', '--matched', '19']
    sweep([*arguments, *numbers, '--layer', POOLED, 'backbone[-1]', '--out', 'out'])
    said = capsys.readouterr()
    output = said.out + said.err
    assert 'not level 3' not in output
    assert f'sweep at {POOLED}: level 3, all but the pooled branch of ASPPHead is shared' in output
    assert f'a pass over the images measures the mean activation at {POOLED}, backbone[-1]' in output
    assert f'double dissociation of left and right at {POOLED}: ' in output
    assert f'left at {POOLED}: mean harm ' in output
    assert output.rstrip().splitlines()[-1].startswith('done: ')
    files = result('out')
    assert sorted(files) == ['claims.csv', 'dissociation.csv', 'sweep.csv', 'sweep.json', 'sweep_counts.npz']
    # Per layer 3 rankings, 19 random orders and 3 times 19 matched ones with 5 N and 4 windows; 4 regions.
    table = rows('out')
    assert len(table) == 2 * (3 + 19 + 57) * (5 + 4) * 4
    found = Sweep.load('out')
    assert [found.plan.num_random, found.plan.num_matched, found.about['num_images']] == [19, 19, 4]
    assert found.plan.rankings['left'].region == 'left'
    assert str(Path.cwd()) not in files['sweep.json'].decode()
    whole = {(row['region'], row['mIoU']) for row in table if row['num_channels'] == '0'}
    assert len(whole) == 4, 'N = 0 is one and the same'
    assert len({row['mIoU'] for row in table}) > 100, 'the variants differ'
    # Every pixel of every image is counted once in every run, as labelled and as predicted.
    assert (found.counts[:, :, :, :2].sum((2, 4)) == 32 * 32).all()
    claims = rows('out', 'claims')
    assert len(claims) == 2 * 4 * 3
    for name in ('harm', 'random_p', 'matched_p'):
        assert float(claims[0][name]) == pytest.approx(found.claims()[0][name], abs=1e-6)
    assert len(rows('out', 'dissociation')) == 4
    # Scalars of the whole network, and a curve for each ranking, for TensorBoard, W&B and MLflow.
    (scalars,) = Path('work_dirs').rglob('scalars.json')
    logged = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert logged[0]['sweep/overall/mIoU'] == pytest.approx(found.whole('mIoU'), abs=1e-3)
    curve = [entry for entry in logged if 'sweep/backbone_-1_/left/mIoU' in entry]
    assert [entry['step'] for entry in curve] == [0, 8, 16, 24, 32]


def test_n_zero_is_the_plain_test_and_levels_agree(sweep: Main, tool: Callable, arguments: list, capsys) -> None:
    tables = {}
    for level in ('1', '2', '3'):
        sweep([*arguments, *SWEEP, '--layer', POOLED, 'backbone[-1]', '--level', level, '--out', level])
        tables[level] = rows(level)
    assert tables['1'] == tables['2']
    for pair in zip(tables['1'], tables['3'], strict=True):
        one, three = ([*row.values()] for row in pair)
        assert three[:8] == one[:8]
        assert [*map(float, three[8:])] == pytest.approx([*map(float, one[8:])], abs=0.05, nan_ok=True)
    capsys.readouterr()
    tool('test')([*arguments[:2], '--cfg-options', 'test_evaluator.type=mmposenc.RegionIoUMetric'])
    line = capsys.readouterr().out.rstrip().splitlines()[-1]
    for row in tables['3'][:4]:
        assert row['num_channels'] == '0'
        assert f'{row["region"]}/mIoU {float(row["mIoU"]):.4g}' in line


def test_rows_depend_neither_on_the_order_of_n_nor_on_budget_and_batch(sweep: Main, arguments: list[str]) -> None:
    tail = ['--layer', POOLED, 'backbone[-1]', *PLAIN]
    sweep([*arguments, '--num-channels', '0,4,8,20', *tail, '--out', 'a'])
    sweep([*arguments, '--num-channels', '20,8,0,4,8', *tail, '--out', 'b', '--memory-budget', '0.01'])
    batch = ['--cfg-options', 'test_dataloader.batch_size=3']
    sweep([*arguments, '--num-channels', '8,4,20,0', *tail, '--out', 'c', *batch])
    assert result('a') == result('b')
    assert rows('a') == rows('c')


def test_an_interrupted_sweep_goes_on_and_a_finished_one_stays(sweep: Main, arguments: list, monkeypatch) -> None:
    from mmposenc.mm.loops.sweep_counts import SegmentationCounts

    sweep([*arguments, *SWEEP, '--out', 'whole'])
    count, counted = SegmentationCounts.count, []

    def fail_at_the_third(self: SegmentationCounts, data: dict, positions: list[int]) -> torch.Tensor:
        if len(counted) == 2:
            raise RuntimeError('killed')
        counted.append(positions)
        return count(self, data, positions)

    monkeypatch.setattr(SegmentationCounts, 'count', fail_at_the_third)
    monkeypatch.setattr('mmposenc.channels.sweep_result._SECONDS_PER_UNIT', 0)
    with pytest.raises(RuntimeError, match='killed'):
        sweep([*arguments, *SWEEP, '--out', 'parts'])
    assert sorted(path.name for path in Path('parts').glob('[!.]*')) == ['sweep.json', 'units']
    counted.clear()
    monkeypatch.setattr(SegmentationCounts, 'count', lambda *args: counted.append(args[2]) or count(*args))
    sweep([*arguments, *SWEEP, '--out', 'parts'])
    assert counted == [[2], [3]]
    assert result('parts') == result('whole')
    sweep([*arguments, *SWEEP, '--out', 'parts'])
    assert counted == [[2], [3]], 'nothing is counted again'
    assert result('parts') == result('whole')
    with pytest.raises(ValueError, match=r'holds a sweep under other conditions \(not the same: plan'):
        sweep([*arguments, *SWEEP[:2], '--random', '0', '--out', 'parts'])


def test_a_sweep_does_not_go_on_with_other_data(sweep: Main, arguments: list[str]) -> None:
    command = [*arguments, '--num-channels', '8', *PLAIN, '--out', 'out']
    sweep(command)
    shutil.copytree('scenes', 'other')
    for file in Path('other/images').iterdir():
        cv2.imwrite(str(file), cv2.imread(str(file)) // 2)
    for option, what in (
        ('model.data_preprocessor.mean=[0,0,0]', 'model_config_sha256'),
        ('test_dataloader.dataset.data_root=other', 'data_config_sha256, first_batch_sha256'),
        ('test_evaluator.ignore_index=0', 'metric'),
    ):
        with pytest.raises(ValueError, match=rf'holds a sweep under other conditions \(not the same: {what}'):
            sweep([*command, '--cfg-options', option])


def test_images_that_the_rankings_were_not_made_from(sweep: Main, arguments: list[str]) -> None:
    for split in ('all', 'even', 'odd'):
        sweep([*arguments, *SWEEP, '--split', split, '--out', split])
    every, even, odd = (Sweep.load(split).counts for split in ('all', 'even', 'odd'))
    assert torch.equal(torch.stack([even, odd], 1).flatten(0, 1), every)


def test_regions_are_those_of_the_metric_in_the_config(sweep: Main, arguments: list[str]) -> None:
    options = ['test_evaluator.type=mmposenc.RegionIoUMetric', 'test_evaluator.regions.top="(0,0,1,0.5)"']
    sweep([*arguments, '--num-channels', '0,8', '--random', '19', '--out', 'out', '--cfg-options', *options])
    assert [row['region'] for row in rows('out')[:2]] == ['top', 'overall']
    assert json.loads(Path('out/sweep.json').read_text())['metric']['regions']['top'] == [0, 0, 1, 0.5]
    assert not Path('out/dissociation.csv').exists()


OWN = '@METRICS.register_module(force=True)\nclass OwnIoU(IoUMetric):\n    pass\n'
OWN = f'from mmseg.evaluation import IoUMetric\nfrom mmseg.registry import METRICS\n{OWN}'


@pytest.mark.parametrize('evaluator', ["dict(metrics=[METRIC('IoUMetric')])", "METRIC('OwnIoU')"])
def test_labels_are_ignored_as_the_metric_ignores_them(sweep: Main, arguments, monkeypatch, evaluator: str) -> None:
    config = Path(arguments[0])
    (config.parent / 'own_iou.py').write_text(OWN)
    monkeypatch.syspath_prepend(config.parent)
    metric = re.sub(r"METRIC\('(\w+)'\)", r"dict(type='\1', ignore_index=1)", evaluator)
    config.write_text(f"{config.read_text()}\ncustom_imports = dict(imports=['own_iou'])\ntest_evaluator = {metric}\n")
    sweep([*arguments, '--num-channels', '0', *PLAIN, '--out', 'out'])
    assert json.loads(Path('out/sweep.json').read_text())['metric']['ignore_index'] == 1


def test_windows_of_a_backbone_that_accepts_no_other_size(sweep: Main, arguments: list, monkeypatch) -> None:
    forward = ResNetV1c.forward

    def windows_only(self: ResNetV1c, images: Tensor) -> object:
        if images.shape[-2:] != (16, 16):
            raise RuntimeError('the size of tensor a must match the size of tensor b')
        return forward(self, images)

    monkeypatch.setattr(ResNetV1c, 'forward', windows_only)
    windows = [f'model.test_cfg.{option}' for option in ('mode=slide', 'crop_size=(16,16)', 'stride=(8,8)')]
    sweep([*arguments, '--num-channels', '0,8', *PLAIN, '--allow-slide', '--out', 'out', '--cfg-options', *windows])
    whole, *off = (float(row['aAcc']) for row in rows('out') if row['region'] == 'overall')
    assert {whole} != {*off}


def test_a_classifier(sweep: Main, classifier_config: Path, tmp_path: Path) -> None:
    arguments = save_inputs(classifier_config, 'neck', tmp_path)
    sweep([*arguments, '--num-channels', '0:33:16', '--random', '1', '--max-shift', '3', '--out', 'out'])
    table = rows('out')
    assert len(table) == (3 + 1) * 3
    assert table[0].keys() >= {'top1', 'cons3_zero_ref'}
    everything_off = [row for row in table if row['num_channels'] == '32']
    # Without any feature the same class is predicted for all of the 4 + 3 images.
    assert {row['cons3_zero_ref'] for row in everything_off} == {'100.000000'}
    assert {row['top1'] for row in everything_off} <= {f'{100 * n / 7:.6f}' for n in (3, 4)}


def test_shifts_are_drawn_by_the_position_in_the_whole_data_set(
    sweep: Main, classifier_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def shifted(self: ShiftedViews, key: str, images: Tensor, indices: list[int]) -> tuple[Tensor]:
        asked.extend(indices)
        return (images,)

    monkeypatch.setattr(ShiftedViews, 'shifted', shifted)
    arguments = save_inputs(classifier_config, 'neck', tmp_path)
    sweep([*arguments, '--num-channels', '16', *PLAIN, '--split', 'odd'])
    assert asked == [1, 3, 5]


@pytest.mark.parametrize('extra, message', [
    (['--layer', 'decode_head.pool', '--num-channels', '1'], r"layer 'decode_head\.pool' does not exist"),
    (['--layer', 'backbone.layer3', '--num-channels', '1'], 'has 16 channels, but the channels were chosen'),
    (['--layer', 'backbone.layer3', '--num-channels', '1', '--matched', '1'], 'has 16 channels, but the channels were'),
    (['--layer', 'backbone.layer4', '--level', '3', '--num-channels', '1'], 'level 3 is not possible'),
    (['--num-channels', '1', '--memory-budget', '0'], 'memory_budget must be above 0 MiB, got 0'),
    (['--num-channels', '1', '--cfg-options', 'model.test_cfg.mode=slide'], "model.test_cfg.mode is 'slide'"),
    (['--num-channels', '1', '--rankings', 'overall.json', '../overall.json'], 'which must differ'),
])  # fmt: skip
def test_mistakes(sweep: Main, arguments: list[str], extra: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep([*arguments, *PLAIN, *extra, '--out', 'out'])
    assert not list(Path('out').glob('*.csv'))


FLIPS = "[dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)], [dict(type='LoadAnnotations')]"
PIPELINE = "[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]"


def test_pipelines_that_cannot_be_swept(sweep: Main, arguments: list[str]) -> None:
    config = Path(arguments[0])
    text = config.read_text()
    augmented = f"dict(type='TestTimeAug', transforms=[{FLIPS}, [dict(type='PackSegInputs')]])"
    config.write_text(text.replace(PIPELINE, f"[dict(type='LoadImageFromFile'), {augmented}]"))
    with pytest.raises(ValueError, match='each image is taken once: use a test pipeline without test-time'):
        sweep([*arguments, '--num-channels', '1', *PLAIN])
    config.write_text(text)
    for folder in ('images', 'labels'):
        file = str(config.parent / 'scenes' / folder / '1.png')
        cv2.imwrite(file, cv2.resize(cv2.imread(file, cv2.IMREAD_UNCHANGED), (48, 32)))
    batch = ['--cfg-options', 'test_dataloader.batch_size=2']
    with pytest.raises(ValueError, match=r'images of one batch must have one size, got \[\(32, 32\), \(32, 48\)\]'):
        sweep([*arguments, '--num-channels', '1', *PLAIN, *batch])


def test_rankings_of_other_weights(sweep: Main, arguments: list[str]) -> None:
    path = Path(arguments[3])
    path.write_text(json.dumps({**json.loads(path.read_text()), 'model_sha256': 'f' * 64}))
    command = [*arguments, '--num-channels', '4', *PLAIN, '--out', 'out']
    with pytest.raises(ValueError, match='the ranking was made from other weights'):
        sweep(command)
    sweep([*command, '--allow-other-weights'])
    assert rows('out')


@pytest.mark.slow
def test_kill_9_and_go_on(sweep: Main, arguments: list[str]) -> None:
    slow = [*arguments, '--num-channels', '0:33:1', '--random', '20', '--level', '1', '--work-dir', 'work']
    sweep([*slow, '--out', 'whole'])
    command = [sys.executable, '-m', 'mmposenc', 'sweep', *slow, '--out', 'killed']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(ROOT)}
    for units in (1, 2):
        with open('log', 'w') as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while len(list(Path('killed/units').glob('*.npz'))) < units and time.monotonic() < end:
            assert process.poll() is None, Path('log').read_text()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not Path('killed/sweep.csv').exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert result('killed') == result('whole')


def test_a_digest_is_of_the_values_not_of_how_they_lie_in_memory():
    values = torch.arange(6).reshape(2, 3)
    assert _tensor_digest([values.t()]) == _tensor_digest([values.t().contiguous()]) != _tensor_digest([values])
    assert _tensor_digest(torch.tensor(3).expand(1)) == _tensor_digest(torch.tensor([3]))
