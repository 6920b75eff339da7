"""One of two processes is killed or told to stop: none of the two waits for ever, and nothing is lost."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import runs
from runs import Run, read, same

from mmposenc.host.checkpoints import read_checkpoint

Start, Write = Callable[..., Run], Callable[..., str]
pytestmark = [pytest.mark.slow, pytest.mark.dist]


@pytest.fixture
def both(start: Start) -> Callable[..., list[Run]]:
    """Starts two processes by hand, without torchrun."""

    def begin(*arguments: str) -> list[Run]:
        with socket.socket() as listener:
            listener.bind(('127.0.0.1', 0))
            port = str(listener.getsockname()[1])
        meet = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        return [
            start('train', *arguments, '--launcher', 'pytorch', RANK=rank, LOCAL_RANK=rank, **meet) for rank in '01'
        ]

    return begin


def statuses(two: list[Run]) -> list[int]:
    return [run.status() for run in two]


@pytest.mark.parametrize('lost', [0, 1])
def test_a_process_that_is_killed_ends_the_other(both: Callable, config: Write, lost: int) -> None:
    kill = dict(type='SignalAt', name='SIGKILL', iteration=3, rank=lost)
    start = time.monotonic()
    two = both(config('whole_batch', 'killed', kill), '--work-dir', 'work')
    status = statuses(two)
    assert time.monotonic() - start < 60
    assert (status[lost], status[1 - lost]) == (-9, 1)
    (line,) = two[1 - lost].errors()
    assert re.fullmatch(r'error: another process of this run has ended .*; its own output says why\..*--resume', line)


def test_a_process_that_hangs_is_given_up_after_the_timeout(both: Callable, config: Write) -> None:
    hang = dict(type='SignalAt', name='SIGSTOP', iteration=3, rank=1)
    timeout = ['--cfg-options', 'env_cfg.dist_cfg.timeout=3']
    first, second = both(config('whole_batch', 'hanging', hang), '--work-dir', 'work', *timeout)
    assert first.status() == 1
    (line,) = first.errors()
    assert re.match(r'error: another process of this run has ended or does not answer \(.*[Tt]imed out.*3000ms', line)
    assert second.process.exitcode is None


def test_a_signal_to_one_process_stops_both_and_they_go_on(both: Callable, start: Start, config: Write) -> None:
    assert statuses(both(config('whole_batch', 'whole'), '--work-dir', 'whole')) == [0, 0]
    # They agree one iteration later: after the 4th, the last of the second epoch.
    fault = dict(type='SignalAt', name='SIGTERM', iteration=3, rank=1)
    two = both(config('whole_batch', 'one', fault), '--work-dir', 'work')
    assert statuses(two) == [143, 143], two[0].text()
    assert two[0].text().count('stopped by SIGTERM after iteration 4') == 1
    fault = dict(type='SignalAt', name='SIGTERM', iteration=4, rank=0, validating=True)
    two = both(config('whole_batch', 'two', fault), '--work-dir', 'work', '--resume')
    assert statuses(two) == [143, 143], two[0].text()
    two = both(config('whole_batch', 'three'), '--work-dir', 'work', '--resume')
    assert statuses(two) == [0, 0], two[0].text()
    for rank in (0, 1):
        whole, one, twice, three = (read(f'{name}.losses', rank) for name in ('whole', 'one', 'two', 'three'))
        assert one + twice + three == whole
    assert read('whole.losses', 0) != read('whole.losses', 1)
    one, other = (read_checkpoint(f'{folder}/epoch_3.pth') for folder in ('whole', 'work'))
    for part in ('state_dict', 'optimizer', 'random_states'):
        assert same(one[part], other[part]), part

    alone = start('train', config('whole_batch', 'alone'), '--work-dir', 'work', '--resume', 'work/epoch_2.pth')
    assert alone.status() == 0, alone.text()
    assert 'the checkpoint is of 2 processes, this run has 1: augmentations are drawn anew' in alone.text()


@pytest.mark.parametrize('fault', ['SIGKILL', 'SIGTERM'])
def test_torchrun(config: Write, fault: str) -> None:
    # One process is killed, or torchrun itself is told to stop.
    hooks = [dict(type='SignalAt', name='SIGKILL', iteration=3, rank=1)] if fault == 'SIGKILL' else []
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    command += [str(runs.ROOT / 'tools' / 'train.py'), config('whole_batch', 'run', *hooks), '--work-dir', 'work']
    command += ['--cfg-options', 'train_cfg.max_epochs=100000', 'default_hooks.checkpoint.interval=100000']
    environment = {**os.environ, **runs.CPU, 'PYTHONPATH': str(Path(__file__).parent)}
    log = Path('log')
    with log.open('w') as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while len(read('run.losses')) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        if fault == 'SIGTERM':
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1  # torchrun's own
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if fault == 'SIGTERM':
        assert log.read_text().count('stopped by SIGTERM after iteration') == 1
        assert read_checkpoint('work/stopped.pth')['meta']['iter'] >= 2
