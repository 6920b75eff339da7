"""How the documentation site is built: `make docs`. Nothing is fetched, neither while building nor while reading."""

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmposenc import __version__
from mmposenc.cli import COMMANDS, make_parser

project = 'mmposenc'
copyright = '2026, the mmposenc authors. Apache-2.0'
version = release = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
suppress_warnings = ['myst.header']
myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 3
html_theme = 'furo'
html_static_path = ['static']
html_css_files = ['wide.css']
html_title = f'mmposenc {version}'
html_show_sphinx = False
html_copy_source = False
html_math_renderer = 'mathml'
pygments_style = 'tango'

default_role = 'literal'
add_module_names = False
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ['Shape', 'Required Keys', 'Modified Keys', 'Added Keys']

_CODE = re.compile(r'(``?[^`]+``?)')


def escape_markup(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Our docstrings are plain text with `code`: |x|, * and x_ mean themselves, unlike in reStructuredText."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith(('>>>', '...')):
            parts = _CODE.split(line)
            parts[::2] = [re.sub(r'\*|\||(?<=\w)_(?!\w)', r'\\\g<0>', part) for part in parts[::2]]
            parts[2::2] = [re.sub(r'^(?=\w)', r'\\ ', part) for part in parts[2::2]]
            lines[number] = ''.join(parts)


def skip_fields(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """The fields of a named tuple are described under its Args."""
    return True if type(obj).__name__ == '_tuplegetter' else None


def add_commands(app: Sphinx, page: str, source: list[str]) -> None:
    """What `--help` of every subcommand prints, on the page about the command line."""
    if page == 'reference/cli':
        os.environ['COLUMNS'] = '110'
        for name in COMMANDS:
            source[0] += f'\n## {name}\n\n```text\n{make_parser(name).format_help()}```\n'


def inline_math(translator: nodes.NodeVisitor, node: nodes.math) -> None:
    """A formula in a line, as MathML, which browsers draw by themselves."""
    translator.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def display_math(translator: nodes.NodeVisitor, node: nodes.math_block) -> None:
    """A formula on lines of its own."""
    formula = latex2mathml.tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div style="overflow: auto hidden; padding: 0.4em 0">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.connect('source-read', add_commands)
    app.connect('autodoc-process-docstring', escape_markup, priority=400)  # before napoleon
    app.connect('autodoc-skip-member', skip_fields)
    app.add_html_math_renderer('mathml', (inline_math, None), (display_math, None))
