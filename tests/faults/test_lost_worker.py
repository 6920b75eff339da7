"""A worker process of a data loader that is killed ends the tool with one line, soon."""

import re
import time
from collections.abc import Callable

import pytest
from runs import Run

from mmposenc.host.checkpoints import read_checkpoint


@pytest.mark.slow
def test_a_killed_worker_is_one_line(start: Callable[..., Run], config: Callable[..., str]) -> None:
    lines = 'train_dataloader.update(num_workers=1)'
    path = config('classifier', 'killed', dict(type='KillWorker', iteration=6), lines=lines)
    begin = time.monotonic()
    run = start('train', path, '--work-dir', 'work')
    assert run.status() == 1
    assert time.monotonic() - begin < 60
    (line,) = run.errors()
    assert re.fullmatch(
        r'error: DataLoader worker \(pid.*; if nobody killed it, memory ran out: .* with --resume', line
    )
    assert 'Traceback' not in run.text()
    assert read_checkpoint('work/epoch_1.pth')['meta']['epoch'] == 1
