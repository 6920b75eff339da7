"""Runs the code of a page as its reader would, and compares what the page says it prints.

Of each page, in order:

- a ```bash block is given to bash, in one folder for the whole page, with `configs/` and `tools/` in it;
- a ```python block whose first line is `# name.py` is written to that file; any other is run;
- a ```text block is compared with what the block before it printed. Every line of it must be a line of the output, in
  the same order; lines in between may be left out, and `...` stands for any text. Numbers must agree to the digits
  shown, or, after a comment `<!-- check: within 5 -->`, within 5; after `<!-- check: words -->` they may be any;
- a fence with `no-run` behind its language is for reading only.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'
_BLOCK = re.compile(
    r'(?:<!-- check: (?P<check>[^>]+) -->\n+)?^```(?P<language>\w+)(?P<note> no-run)?\n(?P<text>.*?)^```$', re.M | re.S
)
_NUMBER = re.compile(r'(?<![\w./-])-?\d+(?:\.\d+)?(?![\w/])')
_A_NUMBER = r'(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)'


class Block(NamedTuple):
    """A fenced block: its language, its text, and how numbers of a text block are compared."""

    language: str
    text: str
    check: str


def read_blocks(markdown: str) -> list[Block]:
    """The blocks of a page that are run or compared."""
    return [
        Block(match['language'], match['text'], match['check'] or 'exact')
        for match in _BLOCK.finditer(markdown)
        if match['language'] in ('bash', 'python', 'text') and not match['note']
    ]


def run_page(page: str, folder: Path) -> Iterator[tuple[Block, str]]:
    """Run a page block by block; gives each text block with the output that it stands behind."""
    for name in ('configs', 'tools'):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
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
    """Standard output and error of a command that must succeed; nothing that it started outlives it."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    environment = {**os.environ, 'PATH': path, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=200)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, f'{command[-1]}\nended with status {process.returncode}:\n{output[-3000:]}'
    return output


def missing_line(block: Block, output: str) -> str | None:
    """The first line of a text block that the output does not have at its place; None if all are there."""
    lines = iter(output.splitlines())
    for expected in block.text.splitlines():
        wanted = bool(expected.strip()) and expected.strip() != '...'
        if wanted and not any(line_agrees(expected, line, block.check) for line in lines):
            return expected
    return None


def line_agrees(expected: str, line: str, check: str = 'exact') -> bool:
    """Whether a line of the output is the line that a page shows."""
    pieces = ' '.join(expected.split()).split('...')
    numbers = [number for piece in pieces for number in _NUMBER.findall(piece)]
    patterns = [_A_NUMBER.join(re.escape(part) for part in _NUMBER.split(piece)) for piece in pieces]
    match = re.fullmatch('.*?'.join(patterns), ' '.join(line.split()))
    if match is None or check == 'words':
        return match is not None
    return all(_close(shown, printed, check) for shown, printed in zip(numbers, match.groups(), strict=True))


def _close(shown: str, printed: str, check: str) -> bool:
    half_digit = 0.5 * 10.0 ** -len(shown.partition('.')[2])
    allowed = half_digit if check == 'exact' else float(check.removeprefix('within '))
    return abs(float(shown) - float(printed)) <= allowed + 1e-9
