"""Says at the end of a run how many hostile cases were tried, and guards this machine against the greedy ones."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_cases import PROFILE, TRIED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not TRIED:
        return
    terminalreporter.section(f'hostile input, profile {PROFILE}')
    for (kind, test), number in sorted(TRIED.items()):
        terminalreporter.write_line(f'{number:7d}  {kind}: {test}')
    terminalreporter.write_line(f'{sum(TRIED.values()):7d}  hostile cases tried')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if PROFILE != 'default' and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(autouse=True)
def _memory_limit() -> Iterator[None]:
    """A file that claims a thousand million of anything gets 4 GiB and no more, so that a claim is seen to fail."""
    pages = int(Path('/proc/self/statm').read_text().split()[0]) if Path('/proc/self/statm').exists() else None
    before = resource.getrlimit(resource.RLIMIT_AS)
    if pages is not None:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
