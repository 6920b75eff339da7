"""The site is built without a warning, needs no network to be read, and no link of a page leads nowhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'
WRITTEN = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *DOCS.rglob('*.md')]
_LINK = re.compile(r'\]\(([^)\s]+)\)')
_FENCED = re.compile(r'^```.*?^```$', re.M | re.S)


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'sphinx', '-q', '-E', '-W', '--keep-going', '-b', 'html', str(DOCS), str(out)]
    done = subprocess.run(
        command, env={**os.environ, 'OMP_NUM_THREADS': '1'}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
def test_the_site_has_every_page(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix('.html') for path in DOCS.rglob('*.md') if path.stem != 'results.in'}
    assert {path.relative_to(site) for path in site.rglob('*.html')} >= pages
    api = (site / 'api' / 'models.html').read_text()
    assert 'mmposenc.mm.models.PermuteNeck' in api
    assert 'Draw an order for each sample of the batch instead of one for all' in api
    assert '<math' in (site / 'protocols.html').read_text()


@pytest.mark.slow
def test_the_site_is_read_without_a_network(site: Path) -> None:
    loaded = re.compile(r'(?:<(?:script|link|img)[^>]*(?:src|href)=|url\()["\']?(https?:)?//[^>)]*')
    for path in [*site.rglob('*.html'), *site.rglob('*.css')]:
        assert (found := loaded.search(path.read_text())) is None, f'{path.relative_to(site)} loads {found[0]}'


@pytest.mark.parametrize('page', WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    text = _FENCED.sub('', page.read_text())
    links = [link for link in _LINK.findall(text) if not re.match(r'[a-z]+:', link)]
    broken = [link for link in links if not (page.parent / link.partition('#')[0]).exists()]
    assert not broken


@pytest.mark.parametrize('page', WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_has_one_title(page: Path) -> None:
    text = _FENCED.sub('', page.read_text())
    assert len(re.findall(r'^# ', text, re.M)) == 1


@pytest.mark.slow
def test_the_api_reference_names_every_public_part(site: Path) -> None:
    package = ROOT / 'mmposenc'
    pages = {path.name: path.name for path in package.iterdir() if (path / '__init__.py').is_file()}
    pages |= {path.stem: 'mmposenc' for path in package.glob('*.py') if path.stem not in ('__init__', 'version')}
    assert {'channels', 'engine', 'checkpoints'} <= set(pages)
    for part, page in pages.items():
        assert f'id="module-mmposenc.{part}"' in (site / 'api' / f'{page}.html').read_text()
