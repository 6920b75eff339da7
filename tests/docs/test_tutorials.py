"""Every command of the tutorials, of installation and of extending runs, and prints what the page says.

See `pages.py` for the rules. The tutorials on ranking, ablation and sweeps share one folder, so one network.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from pages import DOCS, Block, line_agrees, missing_line, read_blocks, run_page

# The page, and those that its reader has followed before.
AFTER = {
    'tutorials/ablate_channels.md': ['tutorials/rank_channels.md'],
    'tutorials/sweep.md': ['tutorials/rank_channels.md'],
}
PAGES = [
    'tutorials/train_augshift.md',
    'tutorials/grid_position.md',
    'tutorials/rank_channels.md',
    'tutorials/ablate_channels.md',
    'tutorials/sweep.md',
    'installation.md',
    'extending.md',
]


@pytest.fixture(scope='module')
def follow(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[tuple[Block, str]]]:
    """Runs a page, and once those that come before it, in the folder of the first of them."""
    done: dict[str, list[tuple[Block, str]]] = {}
    folders: dict[str, Path] = {}

    def run(page: str) -> list[tuple[Block, str]]:
        if page not in done:
            earlier = AFTER.get(page, [])
            for before in earlier:
                run(before)
            folders[page] = folders[earlier[0]] if earlier else tmp_path_factory.mktemp('reader')
            done[page] = list(run_page(page, folders[page]))
        return done[page]

    return run


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES)
def test_a_page_runs_and_prints_what_it_says(page: str, follow: Callable[[str], list[tuple[Block, str]]]) -> None:
    shown = follow(page)
    assert shown
    for block, output in shown:
        assert (missing := missing_line(block, output)) is None, f'{page}: no line {missing!r} in\n{output[-3000:]}'


def test_every_tutorial_is_run() -> None:
    assert {f'tutorials/{path.name}' for path in (DOCS / 'tutorials').glob('*.md')} == {
        page for page in PAGES if page.startswith('tutorials/')
    }


@pytest.mark.parametrize(
    'expected, line, check, agrees',
    [
        ('done: accuracy/top1 98.3, ...', 'done: accuracy/top1 98.31, consistency/cons8_zero_ref 20', 'exact', True),
        ('done: accuracy/top1 98.3, ...', 'done: accuracy/top1 98.36, consistency/cons8_zero_ref 20', 'exact', False),
        ('accuracy 90; checkpoint: a/epoch_8.pth', 'accuracy 94.9; checkpoint: a/epoch_8.pth', 'within 5', True),
        ('accuracy 90; checkpoint: a/epoch_8.pth', 'accuracy 95.1; checkpoint: a/epoch_8.pth', 'within 5', False),
        ('accuracy 90; checkpoint: a/epoch_8.pth', 'accuracy 90; checkpoint: a/epoch_9.pth', 'within 5', False),
        ('best channels 3, 1, 2', 'best channels 7,  8, 9', 'words', True),
        ('best channels 3, 1, 2', 'best channels 7, 8', 'words', False),
        ('overall ... -1.5', 'overall -1.5', 'exact', False),
        ('accuracy 90', 'accuracy nan', 'within 100', False),
    ],
)
def test_a_line_agrees_or_not(expected: str, line: str, check: str, agrees: bool) -> None:
    assert line_agrees(expected, line, check) is agrees


def test_lines_must_come_in_order() -> None:
    assert missing_line(Block('text', 'first 1\n...\nthird 3\n', 'exact'), 'first 1\nsecond 2\nthird 3') is None
    assert missing_line(Block('text', 'third 3\nfirst 1\n', 'exact'), 'first 1\nsecond 2\nthird 3') == 'first 1'


def test_what_is_read_of_a_page() -> None:
    page = '# A\n```bash\nls\n```\n\n<!-- check: within 2 -->\n```text\n5\n```\n```bash no-run\nrm\n```\n'
    page += '```python\n1\n```\n'
    assert read_blocks(page) == [
        Block('bash', 'ls\n', 'exact'),
        Block('text', '5\n', 'within 2'),
        Block('python', '1\n', 'exact'),
    ]
