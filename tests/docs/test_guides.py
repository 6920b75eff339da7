"""The commands and snippets of the pages run, and print what the pages say.

Of each page, in order:

- a ```bash block is given to bash, in one folder for the whole page;
- a ```python block whose first line is `# name.py` is written to that file; any other is run;
- a ```text block is compared with what the block before it printed. Each of its lines must be a line of the output, in
  the same order; `...` stands for any text. Numbers must agree to the digits shown or, after a comment
  `<!-- check: within 5 -->`, within 5; `within 8 8 0.2` gives a tolerance for each number of a line, the last one for
  the rest;
- a fence with `no-run` behind its language is for reading only.
"""

import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import pytest
from started import run_together

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'
# Each with the page whose folder it goes on in.
PAGES = {
    'start/install.md': '',
    'start/finding.md': '',
    'guides/augshift.md': '',
    'guides/consistency.md': 'guides/augshift.md',
    'guides/channels.md': '',
    'guides/probe.md': '',
    'guides/segmentation.md': '',
    'guides/sweeps.md': 'guides/segmentation.md',
    'guides/detectors.md': '',
    'develop/extending.md': '',
}
_BLOCK = re.compile(
    r'(?:<!-- check: within (?P<within>[^>]+) -->\n+)?^```(?P<language>\w+)(?P<note> no-run)?\n(?P<text>.*?)^```$',
    re.M | re.S,
)
_NUMBER = re.compile(r'(?<![\w./-])-?\d+(?:\.\d+)?(?![\w/])')
_A_NUMBER = r'(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)'


class Block(NamedTuple):
    """A fenced block: its language, its text, and how far numbers of a text block may be off."""

    language: str
    text: str
    within: tuple[float, ...] = ()


def read_blocks(markdown: str) -> list[Block]:
    """The blocks of a page that are run or compared."""
    return [
        Block(match['language'], match['text'], tuple(map(float, (match['within'] or '').split())))
        for match in _BLOCK.finditer(markdown)
        if match['language'] in ('bash', 'python', 'text') and not match['note']
    ]


def run_page(page: str, folder: Path) -> Iterator[tuple[Block, str]]:
    """Run a page block by block; gives each text block with the output that it stands behind."""
    output = ''
    for block in read_blocks((DOCS / page).read_text()):
        named = re.match(r'# (\S+\.py)\n', block.text) if block.language == 'python' else None
        if block.language == 'text':
            yield block, output
        elif named:
            (folder / named[1]).write_text(block.text)
        elif block.language == 'python':
            output = run([sys.executable, '-c', block.text], folder)
        else:
            output = run(['bash', '-euo', 'pipefail', '-c', block.text], folder)


def run(command: list[str], folder: Path) -> str:
    """Standard output and error of a command that must succeed."""
    (output,) = run_together((command, {'OMP_NUM_THREADS': '1'}), cwd=folder, seconds=600)
    return output


def missing_line(block: Block, output: str) -> str | None:
    """The first line of a text block that the output does not have at its place; None if all are there."""
    lines = iter(output.splitlines())
    for expected in block.text.splitlines():
        wanted = bool(expected.strip()) and expected.strip() != '...'
        if wanted and not any(line_agrees(expected, line, block.within) for line in lines):
            return expected
    return None


def line_agrees(expected: str, line: str, within: tuple[float, ...] = ()) -> bool:
    """Whether a line of the output is the line that a page shows."""
    pieces = ' '.join(expected.split()).split('...')
    numbers = [number for piece in pieces for number in _NUMBER.findall(piece)]
    patterns = [_A_NUMBER.join(re.escape(part) for part in _NUMBER.split(piece)) for piece in pieces]
    match = re.fullmatch('.*?'.join(patterns), ' '.join(line.split()))
    if match is None:
        return False
    exact = [0.5 * 10.0 ** -len(shown.partition('.')[2]) for shown in numbers]
    allowed = chain(within, repeat(within[-1])) if within else exact
    return all(
        abs(float(shown) - float(printed)) <= most + 1e-9
        for shown, printed, most in zip(numbers, match.groups(), allowed, strict=False)
    )


@pytest.fixture(scope='module')
def follow(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[tuple[Block, str]]]:
    """Runs a page, and once the one before it, in one folder."""
    folders: dict[str, Path] = {}

    @cache
    def run_once(page: str) -> list[tuple[Block, str]]:
        if before := PAGES[page]:
            run_once(before)
        folders[page] = folders[before] if before else tmp_path_factory.mktemp('reader')
        return list(run_page(page, folders[page]))

    return run_once


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('page', PAGES)
def test_a_page_runs_and_prints_what_it_says(page: str, follow: Callable[[str], list[tuple[Block, str]]]) -> None:
    if page == 'guides/detectors.md':
        pytest.importorskip('mmdet', reason='detectors need mmdet 3.3 and compiled mmcv: make test-official')
    shown = follow(page)
    assert shown
    for block, output in shown:
        assert (missing := missing_line(block, output)) is None, f'{page}: no line {missing!r} in\n{output[-3000:]}'


def test_every_guide_is_run() -> None:
    assert {f'guides/{path.name}' for path in (DOCS / 'guides').glob('*.md')} <= set(PAGES)


@pytest.mark.parametrize(
    'expected, line, within, agrees',
    [
        ('done: accuracy/top1 98.3, ...', 'done: accuracy/top1 98.31, consistency/cons8_zero_ref 20', (), True),
        ('done: accuracy/top1 98.3, ...', 'done: accuracy/top1 98.36, consistency/cons8_zero_ref 20', (), False),
        ('accuracy 90; checkpoint: a/epoch_8.pth', 'accuracy 94.9; checkpoint: a/epoch_8.pth', (5,), True),
        ('accuracy 90; checkpoint: a/epoch_8.pth', 'accuracy 95.1; checkpoint: a/epoch_8.pth', (5,), False),
        ('accuracy 90; checkpoint: a/epoch_8.pth', 'accuracy 90; checkpoint: a/epoch_9.pth', (5,), False),
        ('harm 20, p 0.03, 5', 'harm 25, p 0.1, 5.1', (8, 0.1), True),
        ('harm 20, p 0.03, 5', 'harm 25, p 0.2, 5.1', (8, 0.1), False),
        ('overall ... -1.5', 'overall -1.5', (), False),
        ('accuracy 90', 'accuracy nan', (100,), False),
    ],
)
def test_a_line_agrees_or_not(expected: str, line: str, within: tuple[float, ...], agrees: bool) -> None:
    assert line_agrees(expected, line, within) is agrees


def test_lines_must_come_in_order() -> None:
    output = 'first 1\nsecond 2\nthird 3'
    assert missing_line(Block('text', 'first 1\n...\nthird 3\n'), output) is None
    assert missing_line(Block('text', 'third 3\nfirst 1\n'), output) == 'first 1'


def test_what_is_read_of_a_page() -> None:
    page = '# A\n```bash\nls\n```\n\n<!-- check: within 2 -->\n```text\n5\n```\n```bash no-run\nrm\n```\n'
    page += '```python\n1\n```\n'
    assert read_blocks(page) == [Block('bash', 'ls\n'), Block('text', '5\n', (2.0,)), Block('python', '1\n')]
    assert len(FAMILIES) >= 15, 'the table of families'


FAMILIES = re.findall(r'^\|[^|]*\| `((?:torchvision|timm):\w+)` \| `([\w.]+)` \| `(\(.*\))` \|$', (DOCS / 'guides' / 'channels.md').read_text(), re.M)  # fmt: skip  # noqa: E501


@pytest.mark.slow
@pytest.mark.parametrize('network, layer, shown', FAMILIES, ids=[network for network, _, _ in FAMILIES])
def test_the_suggested_layer_has_the_layout_of_the_table(network: str, layer: str, shown: str) -> None:
    import torch

    from mmposenc.host.weights import build_network
    from mmposenc.layers import layer_hook

    seen = []
    model = build_network(network).eval()
    size = getattr(getattr(model, 'patch_embed', None), 'img_size', (224, 224))[0]
    with torch.no_grad(), layer_hook(model, layer, lambda features, layout: seen.append((features.shape, layout))):
        model(torch.rand(1, 3, size, size))
    ((shape, layout),) = seen
    named = shown.strip('()').split(', ')
    assert (len(shape), layout.channel_dim) == (len(named), named.index('C'))
    assert layout.prefix_tokens == (int(shown.split(' + ')[0].split()[-1]) if ' + ' in shown else 0)
