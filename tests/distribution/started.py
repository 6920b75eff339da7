"""Starts commands side by side and waits for all of them; whatever happens, none is left over."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

Command = tuple[Sequence[str], Mapping[str, str]]


def torchrun(*arguments: str) -> list[str]:
    return [sys.executable, '-m', 'torch.distributed.run', *arguments]


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])


def run_together(*commands: Command, cwd: str | Path = '.', bin_folder: str = '', seconds: float = 200) -> list[str]:
    """What each command printed; each must end with status 0. `bin_folder` comes first in their PATH."""
    path = os.pathsep.join(filter(None, [bin_folder, str(Path(sys.executable).parent), os.environ['PATH']]))
    common = {name: value for name, value in os.environ.items() if not name.endswith('_NUM_THREADS')}
    common.update(PATH=path, CUDA_VISIBLE_DEVICES='')
    processes: list[subprocess.Popen] = []
    with ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile('w+')) for _ in commands]
        stack.callback(lambda: [kill(process) for process in processes])
        for (line, variables), log in zip(commands, logs, strict=True):
            options = dict(env={**common, **variables}, cwd=cwd, stdout=log, stderr=subprocess.STDOUT)
            processes.append(subprocess.Popen(line, **options, start_new_session=True))
        end = time.monotonic() + seconds
        while any(process.poll() is None for process in processes) and time.monotonic() < end:
            if any(process.poll() for process in processes):
                end = min(end, time.monotonic() + 10)  # One has failed: the others may say why, but not for long.
            time.sleep(0.05)
        for log in logs:
            log.seek(0)
        outputs = [log.read() for log in logs]
        printed = '\n\n'.join(f'{line[-1]}\n{output}' for (line, _), output in zip(commands, outputs, strict=True))
        assert [process.poll() for process in processes] == [0] * len(processes), printed
    return outputs


def kill(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
