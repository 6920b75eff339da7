"""The page is read back with a parser: everything is in it, and nothing is loaded."""

import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from mmposenc.figures.grid_figures import save_figure
from mmposenc.figures.report import Commands, Picture, Section, Table, build_report, save_text

NASTY = '<script>alert("1")</script> & \'mIoU\''
VOID = {'meta', 'img', 'br', 'link', 'input'}


class Page(HTMLParser):
    """Tags with their attributes, and the text under each; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))

    def under(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    figure = Figure()
    figure.subplots().plot([1, 2])
    return [save_figure(figure, tmp_path / f'a.{suffix}') for suffix in ('png', 'svg')]


def test_everything_is_in_the_page(pictures: list[Path]) -> None:
    parts = ['A paragraph.', Table(['name', 'N'], [['left', 3], [None, '12.5%']], 'Two rows.')]
    parts += [Picture(path, f'Picture {path.name}') for path in pictures]
    sections = [Section('First', parts), Section('Second', [Commands(['python a.py --n 1', 'make demo'])])]
    page = Page(build_report('Title', sections, 'What this is.'))
    assert page.under('title') == page.under('h1') == ['Title']
    assert page.under('h2') == page.under('a') == ['First', 'Second']
    assert [link['href'] for link in page.attributes('a')] == ['#part0', '#part1']
    assert [section['id'] for section in page.attributes('section')] == ['part0', 'part1']
    assert page.under('p') == ['What this is.', 'A paragraph.']
    assert page.under('th') == ['name', 'N']
    assert page.under('td') == ['left', '3', '12.5%']
    assert [cell.get('class') for cell in page.attributes('td')] == [None, 'number', None, 'number']
    assert page.under('caption') == ['Two rows.']
    assert page.under('code') == ['python a.py --n 1\nmake demo']
    assert page.under('figcaption') == ['Picture a.png', 'Picture a.svg']


def test_pictures_are_inside_byte_for_byte(pictures: list[Path]) -> None:
    page = Page(build_report('t', [Section('s', [Picture(path, 'c') for path in pictures])]))
    for image, path, kind in zip(page.attributes('img'), pictures, ('png', 'svg+xml'), strict=True):
        head, _, content = image['src'].partition(',')
        assert head == f'data:image/{kind};base64'
        assert base64.b64decode(content, validate=True) == path.read_bytes()
        assert image['alt'] == 'c'


def test_nothing_is_loaded_and_nothing_runs(pictures: list[Path]) -> None:
    text = build_report('t', [Section('s', [Picture(path, 'c') for path in pictures])])
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in ('src', 'href', 'srcset', 'action', 'data'):
                assert value.startswith(('data:image/', '#')), (tag, name)
            assert not name.startswith('on')
    assert 'http:' not in text
    assert 'https:' not in text
    assert 'url(' not in text
    assert '@import' not in text
    (policy,) = [meta for meta in page.attributes('meta') if meta.get('http-equiv') == 'Content-Security-Policy']
    assert policy['content'].startswith("default-src 'none';")


def test_text_stays_text(pictures: list[Path]) -> None:
    parts = [NASTY, Table([NASTY], [[NASTY]], NASTY), Picture(pictures[0], NASTY), Commands([NASTY])]
    page = Page(build_report(NASTY, [Section(NASTY, parts)], NASTY))
    assert 'script' not in {tag for tag, _ in page.tags}
    for tag in ('title', 'h1', 'a', 'h2', 'th', 'td', 'caption', 'figcaption', 'code'):
        assert page.under(tag) == [NASTY], tag
    assert page.under('p') == [NASTY, NASTY]
    assert page.attributes('img')[0]['alt'] == NASTY


def test_braces_are_no_fields() -> None:
    assert Page(build_report('{title}', [Section('{body}', ['{0}'])])).under('p') == ['{0}']


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    path = save_text('é', tmp_path / 'new' / 'report.html')
    assert path.read_bytes() == 'é'.encode()
    assert [file.name for file in path.parent.iterdir()] == ['report.html']


def test_what_is_no_part_of_a_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='at least one section'):
        build_report('t', [])
    with pytest.raises(FileNotFoundError, match=r'picture .*none\.png is not there'):
        Picture(tmp_path / 'none.png', 'c')
    (tmp_path / 'a.png').write_bytes(b'GIF89a')
    with pytest.raises(ValueError, match=r'a\.png must be PNG or SVG, and its content is neither'):
        Picture(tmp_path / 'a.png', 'c')
    with pytest.raises(ValueError, match=r"must have 2 cells as its head, got \['a'\]"):
        build_report('t', [Section('s', [Table(['x', 'y'], [['a']])])])
    with pytest.raises(TypeError, match='is a str, Table, Picture or Commands, got int'):
        build_report('t', [Section('s', [3])])
