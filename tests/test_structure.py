"""Habits that hold for the whole code: sources in docstrings, one concept per file, who imports whom, config rules."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'mmposenc'
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if path.name != '__init__.py')
CONFIGS = sorted((ROOT / 'configs').glob('*.py'))
FOLDERS = ('channels', 'datasets', 'engine', 'evaluation', 'models', 'visualization')
# test_structure reads every registry, test_package the version, test_tools everything of the command line.
TESTED_ELSEWHERE = ('registry', 'version', 'command_line')
# Who may import whom, inside the package.
MAY_IMPORT = {
    'channels': {'channels'},
    'datasets': {'datasets', 'registry'},
    'models': {'models', 'registry'},
    'evaluation': {'evaluation', 'registry'},
    'visualization': {*FOLDERS, 'registry', 'version'} - {'engine'},
    'engine': {*FOLDERS, 'registry', 'version'},
}


def ident(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def public(path: Path, *kinds: type) -> list[Any]:
    return [
        node for node in ast.parse(path.read_text()).body if isinstance(node, kinds) and not node.name.startswith('_')
    ]


def imports(path: Path) -> Iterator[str]:
    """Every imported module with its full name, also those inside functions."""
    package = ['mmposenc', *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = '.'.join([*start, *([node.module] if node.module else [])])
            yield module
            if module == 'mmposenc':
                yield from (f'mmposenc.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('path', MODULES, ids=ident)
def test_the_first_docstring_line_names_its_source(path: Path) -> None:
    source = re.compile(r'\b(Sec|Eq|Fig|Table)s?\.? ?\d|\(ours\b|\bours\)')
    for node in public(path, ast.ClassDef, ast.FunctionDef):
        first = (ast.get_docstring(node) or '').partition('\n\n')[0]
        assert source.search(first), f'{node.name}: {first or "no docstring"}'


@pytest.mark.parametrize('path', MODULES, ids=ident)
def test_one_concept_per_file(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 200
    names = [node.name.lower() for node in public(path, ast.ClassDef)]
    stem = path.stem.replace('_', '')
    if names and 'register_module' in text:
        # `region_iou.py` holds RegionIoUMetric; the family in `batch_transforms.py` shares the first word.
        family = path.stem.endswith('s') and all(name.startswith(path.stem.split('_')[0]) for name in names)
        assert family or any(stem in name for name in names), names
    assert path.stem not in ('utils', 'util', 'misc', 'helpers', 'common')


@pytest.mark.parametrize('path', MODULES, ids=ident)
def test_every_file_has_its_test(path: Path) -> None:
    if path.stem in TESTED_ELSEWHERE:
        return
    assert (ROOT / 'tests' / path.relative_to(PACKAGE).parent / f'test_{path.stem}.py').is_file()


@pytest.mark.parametrize('path', MODULES, ids=ident)
def test_what_a_file_never_holds(path: Path) -> None:
    text = path.read_text()
    assert not [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)]
    assert not re.search(r'\b(TODO|FIXME|NotImplementedError)\b', text)
    assert not re.search(r'[\'"]/(home|root|work|data|tmp)/', text)


@pytest.mark.parametrize('path', sorted(PACKAGE.rglob('*.py')), ids=ident)
def test_who_imports_whom(path: Path) -> None:
    folder = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else None
    for name in imports(path):
        top, _, rest = name.partition('.')
        if top == 'mmposenc' and folder and rest:
            assert rest.split('.')[0] in MAY_IMPORT[folder], f'{name} in {folder}'
        elif top == 'mmposenc' and rest:
            assert rest.split('.')[0] != 'engine', f'{name} outside of engine'
        elif folder == 'channels':
            assert top in ('mmposenc', 'torch') or top in sys.stdlib_module_names, f'{name} in channels'


def types(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get('type'), str):
            yield value['type']
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from types(item)


@pytest.fixture(scope='module')
def own_types() -> set[str]:
    import mmposenc.registry as registries

    names: set[str] = set()
    for name in registries.__all__:
        registry = getattr(registries, name)
        registry.import_from_location()
        names |= set(registry.module_dict)
    return names


@pytest.mark.parametrize('path', CONFIGS, ids=ident)
def test_a_config_names_its_types_as_the_rules_say(path: Path, own_types: set[str], hosts_unchanged: None) -> None:
    from mmengine.config import Config

    from mmposenc.hosts import prepare_hosts

    prepare_hosts()
    cfg = Config.fromfile(path)
    assert cfg.default_scope in ('mmpretrain', 'mmseg')
    assert 'mmposenc' in cfg.custom_imports.imports
    used = set(types(cfg.to_dict()))
    assert used
    unknown = {
        name for name in used if name.startswith('mmposenc.') and name.removeprefix('mmposenc.') not in own_types
    }
    assert not unknown
    assert not used & own_types, 'own types are written mmposenc.X'


@pytest.mark.parametrize('path', CONFIGS, ids=ident)
def test_a_config_is_a_short_leaf(path: Path) -> None:
    assert re.fullmatch(r'[a-z0-9-]+(_[a-z0-9-]+){2,3}\.py', path.name), 'method_backbone[_task]_data.py'
    assert len(path.read_text().splitlines()) <= 40


def test_the_headline_has_its_name() -> None:
    assert (ROOT / 'configs' / 'augshift_r18_cifar100.py').is_file()


def test_no_two_tests_share_a_name() -> None:
    names = [path.name for path in (ROOT / 'tests').rglob('test_*.py')]
    assert len(names) == len(set(names))
