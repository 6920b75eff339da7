"""SIGTERM in a training: a checkpoint after the iteration in progress, status 143, and nothing lost by --resume."""

import os
import re
import signal
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
STOPPED = (
    r'stopped by SIGTERM after iteration {} of \d+, saved in \S*stopped\.pth: the same command with --resume goes on'
)


def stop(iteration: int, **options: object) -> dict:
    return dict(type='SignalAt', name='SIGTERM', iteration=iteration, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    'kind, stops',
    [
        # Inside an epoch, at its last batch, and in the validation after it.
        ('whole_batch', [stop(7), stop(10), stop(10, validating=True)]),
        ('classifier', [stop(6)]),
        ('segmenter', [stop(6), stop(8, validating=True)]),
    ],
)
def test_a_stopped_training_goes_on_from_that_very_iteration(
    start: Start, config: Write, kind: str, stops: list[dict]
) -> None:
    assert start('train', config(kind, 'whole'), '--work-dir', 'whole').status() == 0
    parts = []
    for number, fault in enumerate(stops):
        run = start('train', config(kind, f'part{number}', fault), '--work-dir', 'parts', '--resume')
        assert run.status() == 143, run.text()
        lines = [line for line in run.text().splitlines() if 'stopped by' in line]
        assert len(lines) == 1
        assert re.search(STOPPED.format(fault['iteration']), lines[0])
        assert read_checkpoint('parts/stopped.pth')['meta']['iter'] == fault['iteration']
        assert not list(Path('parts').glob('*.part'))
        parts += read(f'part{number}.losses')
    last = start('train', config(kind, 'last'), '--work-dir', 'parts', '--resume')
    assert last.status() == 0, last.text()
    # Every iteration and every validation once, with the same loss and figures.
    assert parts + read('last.losses') == read('whole.losses')
    assert not Path('parts/stopped.pth').exists()
    name = Path(Path('whole/last_checkpoint').read_text()).name
    one, other = (read_checkpoint(f'{folder}/{name}') for folder in ('whole', 'parts'))
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'random_states'):
        assert same(one[part], other[part]), part


@pytest.mark.slow
def test_workers_that_get_the_signal_too_do_not_end_before_the_training(start: Start, config: Write) -> None:
    workers = 'train_dataloader.update(num_workers=1)\nval_dataloader = dict(num_workers=1)'
    fault = config('classifier', 'stopped', stop(6, group=True), lines=workers)
    run = start('train', fault, '--work-dir', 'work')
    assert run.status() == 143, run.text()
    assert re.search(STOPPED.format(6), run.text())
    assert not run.errors()
    again = start('train', config('classifier', 'again', lines=workers), '--work-dir', 'work', '--resume')
    assert again.status() == 0, again.text()
    assert [line.split()[0] for line in read('again.losses')] == [
        '7',
        '8',
        'validated',
        *'9',
        '10',
        '11',
        '12',
        'validated',
    ]


@pytest.mark.slow
def test_a_process_of_the_command_line(config: Write) -> None:
    log = Path('log')
    command = [sys.executable, str(runs.ROOT / 'tools' / 'train.py'), config('whole_batch', 'long')]
    command += ['--work-dir', 'work', '--cfg-options', 'train_cfg.max_epochs=100000', 'train_cfg.val_interval=100000']
    environment = {**os.environ, **runs.CPU, 'PYTHONPATH': str(Path(__file__).parent)}
    with log.open('w') as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while len(read('long.losses')) < 7 and time.monotonic() < end:
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    last = log.read_text().rstrip().splitlines()[-1]
    reached = int(read('long.losses')[-1].split()[0])
    assert re.search(STOPPED.format(reached), last)
    assert read_checkpoint('work/stopped.pth')['meta']['iter'] == reached
