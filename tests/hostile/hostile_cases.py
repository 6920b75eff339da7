"""How many cases a property is tried on, how they are counted, and what a refusal must look like.

The default profile is quick and tries the same cases in every run; MMPOSENC_HYPOTHESIS=thorough tries
`THOROUGH_FACTOR` times as many (5 times where each case is a whole run of a tool), other ones in each run.
"""

import functools
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from mmposenc.host import errors as user_errors

PROFILE = os.environ.get('MMPOSENC_HYPOTHESIS', 'default')
THOROUGH_FACTOR = 20
REFUSALS = (ValueError, TypeError, OSError, ImportError)  # what the tools turn into one line, see mmposenc.host.errors
TRIED: Counter[tuple[str, str]] = Counter()

settings.register_profile(
    'hostile',
    deadline=None,
    database=None,
    print_blob=True,
    derandomize=PROFILE == 'default',
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def hostile(number: int, factor: int = THOROUGH_FACTOR, **strategies: Any) -> Callable[[Callable], Callable]:
    """A property that holds for `number` cases drawn from the strategies, times `factor` when thorough."""
    if PROFILE not in ('default', 'thorough'):
        raise ValueError(f'MMPOSENC_HYPOTHESIS must be default or thorough, got {PROFILE}')
    examples = number * (1 if PROFILE == 'default' else factor)

    def decorate(test: Callable) -> Callable:
        kind = test.__module__.removeprefix('test_hostile_').replace('_', ' ')

        @functools.wraps(test)
        def counted(*args: Any, **kwargs: Any) -> None:
            TRIED[kind, test.__name__.removeprefix('test_').replace('_', ' ')] += 1
            test(*args, **kwargs)

        profile = settings(settings.get_profile('hostile'), max_examples=examples)
        return profile(given(**strategies)(counted))

    return decorate


def outcome(call: Callable[[], Any], *named: Any) -> tuple[Any, str | None]:
    """What a call gives, and None; or None, and the sentence of its refusal, which must name each of `named`.

    Any other exception than a refusal goes through, and fails the test.
    """
    try:
        return call(), None
    except REFUSALS as error:
        message = str(error)
    check_sentence(message, *named)
    return None, message


def check_sentence(message: str, *named: Any) -> None:
    """A refusal is one sentence or two that can be read, and says which file or argument it is about."""
    line = ' '.join(message.split())
    assert re.search(r'[a-z]{2,}.* .*[a-z]{2,}', line), message
    assert len(line.replace(str(Path(str(named[0])).parent) if named else '\0', '')) < 800, f'{len(line)}: {line:.300}'
    for name in named:
        assert str(name) in message, (str(name), message)
    assert not re.search(r'Traceback|at 0x[0-9a-f]{8}|<[\w.]+ object at', line), line


def listing(folder: Path) -> dict[str, bytes]:
    """All files below a folder, with their content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@contextmanager
def nothing_written(folder: Path):
    """The files below a folder are the same ones, with the same content, when the block ends."""
    before = listing(folder)
    yield
    after = listing(folder)
    assert after.keys() == before.keys()
    assert after == before


def end_of_tool(name: str, arguments: list[str], capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """Run a tool as from the command line: exit status and what it said of its end; a traceback goes through.

    Status 0 is a success, 1 a refusal of one line, 2 a refusal of the parser, which shows the usage before its line.
    """
    tool = load_tool(name)
    capsys.readouterr()
    try:
        user_errors.run(lambda: tool.main(arguments))
    except SystemExit as error:
        status = error.code
    else:
        status = 0
    lines = capsys.readouterr().err.splitlines()
    refusals = [line for line in lines if re.match(r'error: |[\w.-]+: error: ', line)]
    assert len(refusals) == (status != 0), lines
    if refusals:
        assert lines[-1] == refusals[0]
        line = refusals[0]
        for typed in (word for argument in arguments for word in argument.split('=', 1) if len(word) > 100):
            line = line.replace(typed, '...')  # the parser shows what was typed, in full
        check_sentence(line)
    return status, ''.join(refusals)


@functools.cache
def load_tool(name: str) -> ModuleType:
    """A file of tools/ as a module."""
    path = Path(__file__).parents[2] / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
