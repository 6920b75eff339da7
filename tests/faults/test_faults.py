"""kill -9, SIGTERM, a lost rank and a full disk: nothing is lost, and nobody waits for ever."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from runs import Run, read, same
from started import free_port

from mmposenc.host.checkpoints import read_checkpoint
from mmposenc.ranking import Ranking

Start, Write = Callable[..., Run], Callable[..., str]
pytestmark = pytest.mark.slow
LAST = {'whole_batch': 'epoch_3.pth', 'classifier': 'epoch_3.pth', 'segmenter': 'iter_12.pth'}
STOPPED = r'stopped by SIGTERM after iteration {} of \d+, saved in \S*stopped\.pth: the same command with --resume goes'


def fault(name: str, iteration: int, **options: object) -> dict:
    return dict(type='SignalAt', name=name, iteration=iteration, **options)


def train(start: Start, config: str, folder: str, *options: str) -> Run:
    return start('train', config, '--work-dir', folder, *options)


def ends(run: Run, status: int = 0) -> Run:
    assert run.status() == status, run.text()
    return run


def assert_same_checkpoint(kind: str, *folders: str) -> None:
    one, other = (read_checkpoint(f'{folder}/{LAST[kind]}') for folder in folders)
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'rng_states'):
        assert same(one[part], other[part]), part


@pytest.mark.parametrize(
    'kind, killed_in, resumed_after', [('whole_batch', 13, 10), ('classifier', 7, 4), ('segmenter', 7, 4)]
)
def test_a_killed_training_resumes_to_the_same_bits(
    start: Start, config: Write, kind: str, killed_in: int, resumed_after: int
) -> None:
    seedless = ['--cfg-options', 'randomness.seed=None'] if kind == 'classifier' else []
    ends(train(start, config(kind, 'whole'), 'whole'))
    ends(train(start, config(kind, 'killed', fault('SIGKILL', killed_in)), 'killed'), -9)
    # A config without a seed takes over that of the checkpoint.
    ends(train(start, config(kind, 'again'), 'killed', '--resume', *seedless))
    whole, resumed = read('whole.losses'), read('again.losses')
    position = next(i for i, line in enumerate(whole) if line.startswith(f'{resumed_after} '))
    assert resumed == whole[position + 1 :]
    losses = [line.split()[1] for line in whole if line[0].isdigit()]
    assert len(set(losses)) == len(losses)
    assert_same_checkpoint(kind, 'whole', 'killed')


@pytest.mark.parametrize(
    'kind, stops',
    [
        # Inside an epoch, at its last batch, and in the validation after it.
        ('whole_batch', [fault('SIGTERM', 7), fault('SIGTERM', 10), fault('SIGTERM', 10, stage='val')]),
        ('segmenter', [fault('SIGTERM', 6), fault('SIGTERM', 8, stage='val')]),
    ],
)
def test_a_stopped_training_resumes_from_that_very_iteration(
    start: Start, config: Write, kind: str, stops: list[dict]
) -> None:
    ends(train(start, config(kind, 'whole'), 'whole'))
    parts = []
    for number, stop in enumerate(stops):
        run = ends(train(start, config(kind, f'part{number}', stop), 'parts', '--resume'), 143)
        (line,) = [line for line in run.text().splitlines() if 'stopped by' in line]
        assert re.search(STOPPED.format(stop['iteration']), line)
        assert read_checkpoint('parts/stopped.pth')['meta']['iter'] == stop['iteration']
        parts += read(f'part{number}.losses')
    ends(train(start, config(kind, 'last'), 'parts', '--resume'))
    # Every iteration and every validation once, with the same loss and figures.
    assert parts + read('last.losses') == read('whole.losses')
    assert not Path('parts/stopped.pth').exists()
    assert_same_checkpoint(kind, 'whole', 'parts')


@pytest.fixture
def both(start: Start) -> Callable[..., list[Run]]:
    """Starts two processes by hand, without torchrun."""

    def begin(*arguments: str) -> list[Run]:
        meet = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port())
        command = ['train', *arguments, '--launcher', 'pytorch']
        return [start(*command, RANK=rank, LOCAL_RANK=rank, **meet) for rank in '01']

    return begin


@pytest.mark.dist
def test_a_lost_rank_ends_the_other(both: Callable, config: Write) -> None:
    start = time.monotonic()
    two = both(config('whole_batch', 'killed', fault('SIGKILL', 3, rank=1)), '--work-dir', 'killed')
    assert [run.status() for run in two] == [1, -9]
    assert time.monotonic() - start < 90
    (line,) = two[0].errors()
    assert re.fullmatch(r'error: another process of this run has ended .*; its own output says why\..*--resume', line)

    hanging = config('whole_batch', 'hanging', fault('SIGSTOP', 3, rank=1))
    first, second = both(hanging, '--work-dir', 'hanging', '--cfg-options', 'env_cfg.dist_cfg.timeout=3')
    ends(first, 1)
    assert re.match(r'error: another process of .* does not answer \(.*[Tt]imed out.*3000ms', first.errors()[0])
    assert second.process.exitcode is None


@pytest.mark.dist
def test_a_signal_to_one_rank_stops_both_and_they_resume(both: Callable, start: Start, config: Write) -> None:
    def run(name: str, status: int, folder: str, *options: dict, resume: bool = True) -> list[Run]:
        two = both(config('whole_batch', name, *options), '--work-dir', folder, *['--resume'] * resume)
        return [ends(one, status) for one in two]

    run('whole', 0, 'whole', resume=False)
    # They agree one iteration later: after the 4th, the last of the second epoch.
    first, _ = run('one', 143, 'work', fault('SIGTERM', 3, rank=1), resume=False)
    assert first.text().count('stopped by SIGTERM after iteration 4') == 1
    run('two', 143, 'work', fault('SIGTERM', 4, stage='val'))
    run('three', 0, 'work')
    for rank in (0, 1):
        whole, one, twice, three = (read(f'{name}.losses', rank) for name in ('whole', 'one', 'two', 'three'))
        assert one + twice + three == whole
    assert read('whole.losses', 0) != read('whole.losses', 1)
    assert_same_checkpoint('whole_batch', 'whole', 'work')
    alone = ends(train(start, config('whole_batch', 'alone'), 'work', '--resume', 'work/epoch_2.pth')).text()
    assert 'the checkpoint is of 2 processes, this run has 1: augmentations start from new random numbers' in alone


@pytest.fixture
def sweep(start: Start, config: Write, segmenter_config: Path) -> Callable[..., Run]:
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(segmenter_config).model)
    torch.save({'state_dict': model.state_dict()}, 'weights.pth')
    conditions = dict(statistic='abs', pair='flip_image', num_images=1)
    Ranking(layer='backbone[-1]', scores=torch.rand(32).tolist(), **conditions).save('ranking.json')

    def begin(name: str, out: str, *hooks: dict) -> Run:
        options = ['--rankings', 'ranking.json', '--num-channels', '0:33:16', '--random', '1', '--matched', '0']
        return start('sweep', config('segmenter', name, *hooks), 'weights.pth', *options, '--out', out)

    return begin


def files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def test_a_killed_sweep_resumes_and_a_full_disk_leaves_whole_files(sweep: Callable[..., Run]) -> None:
    ends(sweep('whole', 'whole'))
    whole = files('whole')
    assert {'sweep.json', 'sweep_counts.npz', 'sweep.csv'} <= set(whole)
    ends(sweep('killed', 'parts', fault('SIGKILL', 3, stage='test')), -9)
    ends(sweep('again', 'parts'))
    assert files('parts') == whole
    for number, part in enumerate(('.npz', 'sweep.csv')):
        run = ends(sweep(f'full{number}', f'full{number}', dict(type='FullDisk', part=part)), 1)
        (line,) = run.errors()
        assert 'the disk or the quota is full. Files written before are whole: make room and give the same' in line
        assert 'Traceback' not in run.text()
        left = files(f'full{number}')
        assert 'sweep.csv' not in left
        assert not [name for name in left if name.endswith('.tmp') or name == '.lock.txt']
        ends(sweep(f'full{number}-again', f'full{number}'))
        assert files(f'full{number}') == whole
