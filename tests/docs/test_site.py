"""The site builds without a warning and is read without a network; links resolve; tables agree with the figures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from started import run_together

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'
WRITTEN = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *DOCS.rglob('*.md')]
_LINK = re.compile(r'\]\(([^)\s]+)\)')
_FENCED = re.compile(r'^```.*?^```$', re.M | re.S)


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'sphinx', '-q', '-E', '-W', '--keep-going', '-b', 'html', str(DOCS), str(out)]
    run_together((command, {'OMP_NUM_THREADS': '1'}), seconds=280)
    return out


@pytest.mark.slow
def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix('.html') for path in DOCS.rglob('*.md')}
    assert {path.relative_to(site) for path in site.rglob('*.html')} >= pages
    assert '<math' in (site / 'protocols.html').read_text()
    assert '--num-channels' in (site / 'reference' / 'cli.html').read_text()
    loaded = re.compile(r'(?:<(?:script|link|img)[^>]*(?:src|href)=|url\()["\']?(https?:)?//[^>)]*')
    for path in [*site.rglob('*.html'), *site.rglob('*.css')]:
        assert (found := loaded.search(path.read_text())) is None, f'{path.relative_to(site)} loads {found[0]}'


@pytest.mark.slow
def test_the_api_reference_names_every_public_function_and_room(site: Path) -> None:
    import mmposenc

    text = ''.join(path.read_text() for path in (site / 'reference' / 'api').glob('*.html'))
    for name, place in mmposenc._PLACE.items():
        assert re.search(rf'id="mmposenc\.[\w.]+\.{name}"', text), f'{place}.{name}'
    for room in ('channels', 'shifts', 'grids', 'regions', 'figures', 'layers', 'chance', 'mm.models', 'mm.loops'):
        assert f'id="module-mmposenc.{room}"' in text


@pytest.mark.parametrize('page', WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_has_one_title_and_its_relative_links_resolve(page: Path) -> None:
    text = _FENCED.sub('', page.read_text())
    assert len(re.findall(r'^# ', text, re.M)) == (page.name != 'contributing.md')
    links = [link for link in _LINK.findall(text) if not re.match(r'[a-z]+:', link)]
    assert [link for link in links if not (page.parent / link.partition('#')[0]).exists()] == []


def test_tests_that_a_page_names_exist() -> None:
    named = {pair for page in WRITTEN for pair in re.findall(r'`(tests/\S+\.py)::(\w+)`', page.read_text())}
    assert named
    assert [pair for pair in named if f'def {pair[1]}(' not in (ROOT / pair[0]).read_text()] == []


def test_tables_and_model_index_agree_with_the_figures() -> None:
    command = [sys.executable, str(DOCS / 'render_results.py'), '--check']
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'all agree with the figures\n'), done.stderr


def test_the_readme_and_the_guide_make_a_config_augshift_with_the_same_lines() -> None:
    (lines,) = re.findall(r"```python\n(_base_ = 'mmpretrain.*?)```", (ROOT / 'README.md').read_text(), re.S)
    assert f'```python no-run\n{lines}```' in (DOCS / 'guides' / 'augshift.md').read_text()
