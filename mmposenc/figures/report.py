"""A page of HTML that needs nothing but itself."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table of a report (ours).

    Args:
        head: Titles of the columns.
        rows: Cells; numbers are set to the right, None is an empty cell.
        caption: What it shows.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ''


@dataclass(frozen=True)
class Picture:
    """A PNG or SVG file of a report; the page holds a copy of it (ours).

    Args:
        path: Of the file.
        caption: What it shows, also for those who cannot see it.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is neither PNG nor SVG.
    """

    path: str | Path
    caption: str

    def __post_init__(self) -> None:
        _data_url(self.path)


@dataclass(frozen=True)
class Commands:
    """Command lines of a report, to be copied (ours).

    Args:
        lines: The commands.
    """

    lines: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A part of a report under a title of its own (ours).

    Args:
        title: Of the section.
        parts: What stands under it, in order; a str is a paragraph.
    """

    title: str
    parts: Sequence[str | Table | Picture | Commands]


def build_report(title: str, sections: Sequence[Section], introduction: str = '') -> str:
    """One page of HTML that loads nothing: pictures are inside, there is no script (ours).

    Args:
        title: Of the page.
        sections: What it holds.
        introduction: A paragraph above the list of sections.

    Raises:
        ValueError: If there is no section, or a row is not as long as its head.
        TypeError: If a part is none of those that a section takes.
    """
    if not sections:
        raise ValueError('a report needs at least one section')
    links = [f'<li><a href="#part{i}">{escape(section.title)}</a></li>' for i, section in enumerate(sections)]
    body = [f'<h1>{escape(title)}</h1>', f'<p>{escape(introduction)}</p>' if introduction else '']
    body.append(f'<nav><ul>{"".join(links)}</ul></nav>')
    for i, section in enumerate(sections):
        body.append(f'<section id="part{i}">\n<h2>{escape(section.title)}</h2>')
        body += [_render(part) for part in section.parts]
        body.append('</section>')
    return _PAGE.format(title=escape(title), style=_STYLE, body='\n'.join(filter(None, body)))


def save_text(text: str, path: str | Path) -> Path:
    """Write a page or a table whole or not at all (ours)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.part')
    part.write_text(text, encoding='utf-8')
    os.replace(part, path)
    return path


def _render(part: str | Table | Picture | Commands) -> str:
    if isinstance(part, str):
        return f'<p>{escape(part)}</p>'
    if isinstance(part, Table):
        return _render_table(part)
    if isinstance(part, Picture):
        caption = escape(part.caption)
        return f'<figure><img src="{_data_url(part.path)}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    if isinstance(part, Commands):
        return f'<pre><code>{escape(chr(10).join(part.lines))}</code></pre>'
    raise TypeError(f'a part of a section is a str, Table, Picture or Commands, got {type(part).__name__}')


def _render_table(table: Table) -> str:
    wrong = [list(row) for row in table.rows if len(row) != len(table.head)]
    if wrong:
        raise ValueError(f'every row of a table must have {len(table.head)} cells as its head, got {wrong[0]}')
    head = ''.join(f'<th>{escape(str(cell))}</th>' for cell in table.head)
    rows = ''.join(f'<tr>{"".join(map(_cell, row))}</tr>\n' for row in table.rows)
    caption = f'<caption>{escape(table.caption)}</caption>' if table.caption else ''
    return f'<div class="wide"><table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>'


def _cell(value: Any) -> str:
    text = '' if value is None else str(value)
    try:
        float(text.removesuffix('%'))
    except ValueError:
        return f'<td>{escape(text)}</td>'
    return f'<td class="number">{escape(text)}</td>'


def _data_url(path: str | Path) -> str:
    if not Path(path).is_file():
        raise FileNotFoundError(f'picture {path} is not there')
    content = Path(path).read_bytes()
    if content.startswith(b'\x89PNG\r\n\x1a\n'):
        kind = 'png'
    elif b'<svg' in content[:2000]:
        kind = 'svg+xml'
    else:
        raise ValueError(f'picture {path} must be PNG or SVG, and its content is neither')
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2 { line-height: 1.25; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .25rem; }
a { color: #0b5394; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
figcaption, caption { color: #555; font-size: .9rem; text-align: left; padding: .4rem 0; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #e3e3e3; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #999; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: #f5f5f5; padding: .8rem 1rem; overflow-x: auto; border-radius: 4px; font-size: .85rem; }
"""

# The policy makes sure of it: nothing is loaded, nothing runs.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
