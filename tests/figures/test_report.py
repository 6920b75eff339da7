"""The page is read back with a parser: everything is in it, and nothing is loaded."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from planted_sweep import ClassPoints, planted_sweep

from mmposenc.figures import report
from mmposenc.figures.report import Commands, Picture, Section, Table, build_report, save_picture

NASTY = '<script>alert("1")</script> & \'mIoU\' {{ title }}'
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
def pictures(tmp_path: Path) -> list[Picture]:
    """A figure 5 inches wide, as PNG and SVG."""
    figure = Figure(figsize=(5, 2))
    figure.subplots().plot([1, 2])
    return [save_picture(figure, tmp_path / 'new' / f'a.{suffix}', f'Picture {suffix}') for suffix in ('png', 'svg')]


def test_everything_is_in_the_page(pictures: list[Picture]) -> None:
    parts = ['A paragraph.', Table(['name', 'N'], [['left', 3], [None, '12.5%']], 'Two rows.'), *pictures]
    sections = [Section('First', parts), Section('Second', [Commands(['python a.py --n 1', 'make demo'])])]
    page = Page(build_report('Title', sections, ['Found one.', 'Found two.'], 'What this is.'))
    assert page.under('title') == page.under('h1') == ['Title']
    assert page.under('h2') == page.under('a') == ['First', 'Second']
    assert [link['href'] for link in page.attributes('a')] == ['#part0', '#part1']
    assert [section['id'] for section in page.attributes('section')] == ['part0', 'part1']
    assert page.under('li') == ['Found one.', 'Found two.']
    assert page.under('p') == ['What this is.', 'A paragraph.']
    assert page.under('th') == ['name', 'N']
    assert page.under('td') == ['left', '3', '12.5%']
    assert [cell.get('class') for cell in page.attributes('td')] == [None, 'number', None, 'number']
    assert page.under('caption') == ['Two rows.']
    assert page.under('code') == ['python a.py --n 1', 'make demo']
    assert page.under('figcaption') == ['Picture png', 'Picture svg']


def test_a_column_of_numbers_alone_is_aligned_to_the_right() -> None:
    rows = [[1, 'images', 100, '-0.00'], [None, 'layer', 'pool', '1.2 to 3.4'], [3, 'N', '0, 8', '-0.01']]
    table = Table(['N', 'what', 'which', 'p'], rows)
    assert table.right() == [True, False, False, True]
    page = Page(build_report('t', [Section('s', [table])]))
    assert [cell.get('class') for cell in page.attributes('th')] == ['number', None, None, 'number']
    assert page.under('td')[3] == '0.00'  # zero has no sign
    assert page.under('td')[-1] == '-0.01'


def test_pictures_are_inside_byte_for_byte_and_of_one_scale(pictures: list[Picture]) -> None:
    page = Page(build_report('t', [Section('s', pictures)]))
    for image, picture, kind in zip(page.attributes('img'), pictures, ('png', 'svg+xml'), strict=True):
        head, _, content = image['src'].partition(',')
        assert head == f'data:image/{kind};base64'
        assert base64.b64decode(content, validate=True) == Path(picture.path).read_bytes()
        assert image['width'] == '480'  # 5 inches of 96 CSS pixels
        assert image['alt'] == picture.caption


def test_nothing_is_loaded_and_nothing_runs(pictures: list[Picture]) -> None:
    text = build_report('t', [Section('s', pictures)], ['s'])
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in ('src', 'href', 'srcset', 'action', 'data'):
                assert value.startswith(('data:image/', '#')), (tag, name)
            assert not name.startswith('on')
    assert not re.search(r'https?:|url\(|@import', text)
    (policy,) = [meta for meta in page.attributes('meta') if meta.get('http-equiv') == 'Content-Security-Policy']
    assert policy['content'].startswith("default-src 'none';")


def test_text_stays_text(pictures: list[Picture]) -> None:
    picture = Picture(pictures[0].path, NASTY)
    parts = [NASTY, Table([NASTY], [[NASTY]], NASTY), picture, Commands([NASTY])]
    page = Page(build_report(NASTY, [Section(NASTY, parts)], [NASTY], NASTY))
    assert 'script' not in {tag for tag, _ in page.tags}
    for tag in ('title', 'h1', 'a', 'h2', 'li', 'th', 'td', 'caption', 'figcaption', 'code'):
        assert page.under(tag) == [NASTY], tag
    assert page.under('p') == [NASTY, NASTY]
    assert page.attributes('img')[0]['alt'] == NASTY


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_bytes(b'GIF89a')
    with pytest.raises(FileNotFoundError, match=r'there is no picture .*none\.png'):
        Picture(tmp_path / 'none.png', 'c')
    with pytest.raises(ValueError, match=r'a\.png must be a PNG or SVG'):
        Picture(tmp_path / 'a.png', 'c')


def test_p_values_in_words() -> None:
    assert report.describe_p(0.025, 39) == 'none of 39 random orders costs as much (p = 0.025)'
    assert report.describe_p(0.05, 39) == '1 of 39 random orders costs at least as much (p = 0.050)'
    assert report.verdict(0.05) == 'more than chance explains' != report.verdict(0.051)
    assert report.describe_p(0.6, 19) == '11 of 19 random orders cost at least as much (p = 0.600)'


def test_what_a_sweep_has_found_in_words_and_tables() -> None:
    sweep = planted_sweep(('flip', 'dull', 'left', 'right'), window=0, num_matched=19)
    found, halves, number = report.summarise_sweep(sweep)
    # Mean over N = 0, 2, 4: two channels of 5 points, random ones of 0.59.
    assert found == (
        'Ablated at pool, random channels cost 1.2 points of score (mean over N = 0 to 4). More than chance explains: '
        'most sensitive to mirroring (Eq. 2), 10.0 (p = 0.050); left-specific (Eq. 3), 5.0 (p = 0.050); right-specific '
        '(Eq. 3), 5.0 (p = 0.050). Not distinguishable from chance: most sensitive to rolling, 1.0 (p = 1.000).'
    )
    assert 'the left half loses 8.0 points to left channels and 2.0 to right ones, the right half 2.0 and 8.0' in halves
    assert f'D = 12.00, p = {1 / 420:.3f}: each half depends on its own channels' in halves
    assert number == (
        'p is the share of orders, 19 random ones and the ranking itself, that cost at least as much: 0.050 if no '
        'random one does. 4 tests were made at 5%; chance alone would let 0.2 of them pass on average.'
    )
    (claims,) = report.describe_claims(sweep)
    assert claims.rows[0] == [
        *('pool', 'most sensitive to mirroring (Eq. 2)', '10.00', '1.18', '0.94 to 1.42', '0.050'),
        *('2.00', '2.00 to 2.00', '0.050'),
    ]
    (curves,) = report.describe_curves(sweep, region='left')
    assert curves.rows[2] == [4, '58.00', '68.00', '54.00', '66.00', '67.64']
    (halves,) = report.describe_dissociation(sweep)
    assert halves.rows[0] == ['pool', 'left', '8.00', '6.00', '2.00', '2 of 3', '12.00', '0.002']
    assert report.spread(21) == [0, 2, 5, 8, 10, 12, 15, 18, 20]  # long tables are thinned to nine rows
    facts, rankings = report.describe_sweep(sweep)
    assert ['model', 'net <1>'] in facts.rows
    assert ['random orders matched in strength', 19] in facts.rows
    assert rankings.rows[1][:5] == ['dull', 'most sensitive to rolling', 'overall', 'roll_image', 'abs']


def test_strength_may_explain_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = planted_sweep(('dull',), window=0, num_matched=19)
    claims = [{**row, 'harm': 2.0, 'random_p': 0.05, 'matched_p': 0.4} for row in sweep.claims()]
    monkeypatch.setattr(type(sweep), 'claims', lambda self: claims)
    sentence, number = report.summarise_sweep(sweep)
    assert sentence.endswith('matched in strength, which may explain it: most sensitive to rolling (p = 0.400).')
    assert 'tests were made' not in number


def test_zero_has_no_sign_in_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = planted_sweep(('dull',), window=0)
    claims = [{**row, 'harm': -0.04, 'random': -1e-9} for row in sweep.claims()]
    monkeypatch.setattr(type(sweep), 'claims', lambda self: claims)
    sentence, _ = report.summarise_sweep(sweep)
    assert 'random channels cost 0.0 points' in sentence
    assert 'most sensitive to rolling, 0.0 (p' in sentence


def test_classes_in_numbers() -> None:
    (table,) = report.describe_classes(planted_sweep(window=0, metric=ClassPoints()), ['left'])
    assert table.head == ['class', 'random', '95% of orders', 'left-specific (Eq. 3)', 'p']
    assert table.rows == [
        ['building', '1.2', '0.9 to 1.4', '8.0', '0.050'],
        ['tree', '1.2', '0.9 to 1.4', '2.0', '0.050'],
    ]
