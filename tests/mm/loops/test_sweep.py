import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sweep_commands import make_aspp, result, save_inputs

ROOT = Path(__file__).parents[2]
Main = Callable[[list[str]], None]
POOLED = 'decode_head.image_pool.0'
SWEEP = ['--num-channels', '0:33:8', '--windows', '8', '--random', '2']


@pytest.fixture
def arguments(segmenter_config: Path, tmp_path: Path) -> list[str]:
    return save_inputs(make_aspp(segmenter_config), 'backbone[-1]', tmp_path)


@pytest.fixture
def sweep(tool: Callable[[str], Main]) -> Main:
    return tool('sweep')


def rows(folder: str) -> list[dict[str, str]]:
    with open(Path(folder) / 'sweep.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_a_sweep_of_two_layers_from_the_command_line(
    sweep: Main, arguments: list[str], capsys: pytest.CaptureFixture
) -> None:
    sweep([*arguments, *SWEEP, '--layer', POOLED, 'backbone[-1]', '--out', 'out'])
    said = capsys.readouterr()
    output = said.out + said.err
    assert f'sweep at {POOLED}: level 3, all but the pooling branch of ASPPHead is shared' in output
    assert 'by multiply-adds an image costs' in output
    assert f'region attack at {POOLED}, left half: harm left > overall > right holds at' in output
    assert f'left at {POOLED}: its top N harm more than random channels at' in output
    assert output.rstrip().splitlines()[-1].startswith('done: ')
    files = result('out')
    assert sorted(files) == ['random_control.csv', 'region_attack.csv', 'sweep.csv', 'sweep.json', 'sweep_counts.npz']
    # Per layer 3 rankings with 5 N and 4 windows, 2 draws with 5 N; 4 regions.
    table = rows('out')
    assert len(table) == 2 * (3 * (5 + 4) + 2 * 5) * 4
    conditions = json.loads(files['sweep.json'])
    assert conditions['levels'] == {POOLED: 3, 'backbone[-1]': 3}
    assert conditions['rankings']['left']['region'] == 'left'
    assert str(Path.cwd()) not in files['sweep.json'].decode()
    for row in table:
        same = [r for r in table if r['num_channels'] == '0' and r['region'] == row['region']]
        if row['num_channels'] == '0':
            assert all(r['mIoU'] == row['mIoU'] for r in same), 'N = 0 is one and the same'
    assert len({row['mIoU'] for row in table}) > 30, 'the variants differ'
    with np.load('out/sweep_counts.npz') as arrays:
        counts = arrays['counts']
    assert counts.shape[0] == 4
    # Every pixel of every image is counted once in every run.
    assert (counts[:, :, :, 0].sum((2, 3)) == 32 * 32).all()
    assert (counts[:, :, :, 1].sum((2, 3)) == 32 * 32).all()


def test_n_zero_is_the_plain_test_and_levels_agree(
    sweep: Main, tool: Callable[[str], Main], arguments: list[str], capsys: pytest.CaptureFixture
) -> None:
    tables = {}
    for level in ('1', '2', '3'):
        sweep([*arguments, *SWEEP, '--layer', POOLED, 'backbone[-1]', '--level', level, '--out', level])
        tables[level] = rows(level)
    assert tables['1'] == tables['2']
    for one, three in zip(tables['1'], tables['3'], strict=True):
        assert list(three.values())[:7] == list(one.values())[:7]
        assert [float(value) for value in list(three.values())[7:]] == pytest.approx(
            [float(value) for value in list(one.values())[7:]], abs=0.05, nan_ok=True
        )
    capsys.readouterr()
    tool('test')([*arguments[:2], '--cfg-options', 'test_evaluator.type=mmposenc.RegionIoUMetric'])
    line = capsys.readouterr().out.rstrip().splitlines()[-1]
    for row in tables['3'][:4]:
        assert row['num_channels'] == '0'
        assert f'{row["region"]}/mIoU {float(row["mIoU"]):.4g}' in line


def test_neither_the_order_of_n_nor_the_budget_nor_the_batch_changes_the_rows(
    sweep: Main, arguments: list[str]
) -> None:
    tail = ['--layer', POOLED, 'backbone[-1]']
    sweep([*arguments, '--num-channels', '0,4,8,20', *tail, '--out', 'a'])
    sweep([*arguments, '--num-channels', '20,8,0,4,8', *tail, '--out', 'b', '--memory-budget', '0.01'])
    batch = ['--cfg-options', 'test_dataloader.batch_size=3']
    sweep([*arguments, '--num-channels', '8,4,20,0', *tail, '--out', 'c', *batch])
    assert result('a') == result('b')
    assert rows('a') == rows('c')


def test_an_interrupted_sweep_goes_on_and_a_finished_one_stays(
    sweep: Main, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmposenc.mm.sweep.segmentation import SegmentationSweep

    sweep([*arguments, *SWEEP, '--out', 'whole'])
    count, counted = SegmentationSweep.count, []

    def fail_at_the_third(self: SegmentationSweep, data: dict, positions: list[int]) -> torch.Tensor:
        if len(counted) == 2:
            raise RuntimeError('killed')
        counted.append(positions)
        return count(self, data, positions)

    monkeypatch.setattr(SegmentationSweep, 'count', fail_at_the_third)
    monkeypatch.setattr('mmposenc.mm.sweep.store._SECONDS_PER_UNIT', 0)
    with pytest.raises(RuntimeError, match='killed'):
        sweep([*arguments, *SWEEP, '--out', 'parts'])
    assert sorted(path.name for path in Path('parts').iterdir()) == ['sweep.json', 'units']
    counted.clear()
    monkeypatch.setattr(SegmentationSweep, 'count', lambda *args: counted.append(args[2]) or count(*args))
    sweep([*arguments, *SWEEP, '--out', 'parts'])
    assert counted == [[2], [3]]
    assert result('parts') == result('whole')
    sweep([*arguments, *SWEEP, '--out', 'parts'])
    assert counted == [[2], [3]], 'nothing is counted again'
    assert result('parts') == result('whole')
    with pytest.raises(ValueError, match=r'holds a sweep of other conditions \(.*window'):
        sweep([*arguments, *SWEEP[:2], '--out', 'parts'])


def test_regions_are_those_of_the_metric_in_the_config(sweep: Main, arguments: list[str]) -> None:
    options = ['test_evaluator.type=mmposenc.RegionIoUMetric', 'test_evaluator.regions.top="(0,0,1,0.5)"']
    sweep([*arguments, '--num-channels', '0,8', '--out', 'out', '--cfg-options', *options])
    assert [row['region'] for row in rows('out')[:2]] == ['top', 'overall']
    assert json.loads(Path('out/sweep.json').read_text())['regions']['top'] == [0, 0, 1, 0.5]
    assert not Path('out/region_attack.csv').exists()


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
    assert json.loads(Path('out/sweep.json').read_text())['levels'] == {'neck': 2}


@pytest.mark.parametrize(
    'extra, message',
    [
        (['--num-channels', '33'], 'num_channels must be from 0 to 32'),
        (['--layer', 'decode_head.pool', '--num-channels', '1'], r"layer 'decode_head\.pool' does not exist"),
        (['--layer', 'backbone.layer3', '--num-channels', '1'], 'has 16 channels, but the channels were chosen'),
        (['--layer', 'backbone.layer4', '--level', '3', '--num-channels', '1'], 'level 3 is not possible'),
        (['--num-channels', '1', '--memory-budget', '0'], 'memory_budget must be above 0 MiB, got 0'),
        (
            ['--num-channels', '1', '--cfg-options', 'model.test_cfg.mode=slide'],
            "position in the image needs whole-image inference, but model.test_cfg.mode is 'slide'",
        ),
    ],
)
def test_mistakes(sweep: Main, arguments: list[str], extra: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep([*arguments, *extra, '--out', 'out'])
    assert not list(Path('out').glob('*.csv'))


def test_rankings_of_other_weights(sweep: Main, arguments: list[str]) -> None:
    path = Path(arguments[3])
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, 'model_sha256': 'f' * 64}))
    command = [*arguments, '--num-channels', '4', '--out', 'out']
    with pytest.raises(ValueError, match='the ranking was made from other weights'):
        sweep(command)
    sweep([*command, '--allow-other-weights'])
    assert rows('out')


def environment() -> dict[str, str]:
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(ROOT)}


@pytest.mark.slow
def test_kill_9_and_go_on(sweep: Main, arguments: list[str]) -> None:
    slow = [*arguments, '--num-channels', '0:33:1', '--random', '20', '--level', '1', '--work-dir', 'work']
    sweep([*slow, '--out', 'whole'])
    command = [sys.executable, str(ROOT / 'tools' / 'sweep.py'), *slow, '--out', 'killed']
    for units in (1, 2):
        with open('log', 'w') as log:
            process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
        end = time.monotonic() + 120
        while len(list(Path('killed/units').glob('*.npz'))) < units and time.monotonic() < end:
            assert process.poll() is None, Path('log').read_text()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not Path('killed/sweep.csv').exists()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert result('killed') == result('whole')
