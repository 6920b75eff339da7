"""Two runs in one folder: the second says who is there, and leaves everything as it is."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import Run, read

from mmposenc.host.work_dir_lock import lock_folder

Start, Write = Callable[..., Run], Callable[..., str]
ENDLESS = ['--cfg-options', 'train_cfg.max_epochs=100000', 'train_cfg.val_interval=100000']


@pytest.mark.slow
def test_the_second_training_in_a_work_directory_refuses(start: Start, config: Write) -> None:
    first = start('train', config('whole_batch', 'first'), '--work-dir', 'work', *ENDLESS)
    end = time.monotonic() + 60
    while len(read('first.losses')) < 6 and time.monotonic() < end:
        time.sleep(0.02)
    second = start('train', config('whole_batch', 'second'), '--work-dir', 'work', '--resume')
    assert second.status() == 1
    (line,) = second.errors()
    holder = rf'pid {first.process.pid} on {re.escape(socket.gethostname())}, started \d{{4}}-\d\d-\d\dT\S+'
    message = rf'error: another run works in work \({holder}\): wait for its end, or give this one another --work-dir'
    assert re.fullmatch(message, line)
    assert second.text().count('\n') == 1
    assert not Path('work/second.py').exists()

    # The lock is gone with the process, also after kill -9, and the training goes on in the same folder.
    first.kill()
    assert first.process.exitcode == -signal.SIGKILL
    epochs = int(read('first.losses')[-1].split()[0]) // 5 + 2
    last = ['--cfg-options', f'train_cfg.max_epochs={epochs}', 'train_cfg.val_interval=100000']
    third = start('train', config('whole_batch', 'third'), '--work-dir', 'work', '--resume', *last)
    assert third.status() == 0, third.text()
    assert not Path('work/.lock').exists()


@pytest.mark.slow
def test_the_second_sweep_into_a_folder_refuses(start: Start, config: Write) -> None:
    command = [config('segmenter', 'any'), 'weights.pth', '--rankings', 'ranking.json', '--num-channels', '1']
    with lock_folder('out', '--out'):
        second = start('sweep', *command, '--out', 'out')
        assert second.status() == 1
    (line,) = second.errors()
    assert line.startswith(f'error: another run works in out (pid {os.getpid()} on {socket.gethostname()}, started ')
    assert line.endswith('or give this one another --out')
