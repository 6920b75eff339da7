"""Imports run one way: floor, rooms of the paper, figures; floor, rooms, registry and host, mm, command line."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / 'mmposenc'
FLOOR = {'version', 'layers', 'batches', 'ranking', 'results', 'chance'}
ROOMS = {'channels', 'shifts', 'grids', 'regions'}
ALLOWED = {
    **dict.fromkeys(FLOOR, FLOOR),
    **{room: FLOOR | {room} for room in ROOMS},
    'figures': FLOOR | ROOMS | {'figures'},
    'registry': {'version'},
    'host': FLOOR | ROOMS | {'registry', 'host'},
    'mm': FLOOR | ROOMS | {'registry', 'host', 'mm'},
    'cli': FLOOR | ROOMS | {'figures', 'registry', 'host', 'mm', 'cli'},
    '__main__': {'cli'},
    '__init__': {'version'},
}
PLAIN = {'torch', 'numpy', 'scipy', 'mmposenc', *sys.stdlib_module_names}
# What setup.py asks for by another name, or what comes with it.
ASKED_AS = {'cv2': 'opencv-python', 'mmseg': 'mmsegmentation', 'prettytable': 'mmsegmentation', 'PIL': 'torchvision'}


def imports_at_import_time(node: ast.AST) -> list[str]:
    """The dotted names that importing the module imports; function bodies and `if TYPE_CHECKING:` are exempt."""
    names: list[str] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import):
            names += [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            names += [f'{child.module}.{alias.name}' for alias in child.names]
        names += imports_at_import_time(child)
    return names


def test_imports_run_one_way() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE).with_suffix('').parts
        tree = ast.parse(path.read_text(encoding='utf-8'))
        relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level > 1]
        wrong += [f'{path.name}: a relative import leaves its folder' for _ in relative]
        for name in imports_at_import_time(tree):
            top, *rest = name.split('.')
            if top == 'mmposenc' and rest and rest[0] not in ALLOWED[parts[0]] | {'__version__'}:
                wrong.append(f'{"/".join(parts)} imports {name}')
            if parts[0] in FLOOR | ROOMS and top not in PLAIN:
                wrong.append(f'{"/".join(parts)} imports {name}: the plain side needs torch, numpy and scipy only')
    assert wrong == []


def test_setup_asks_for_everything_that_is_imported() -> None:
    setup = (PACKAGE.parent / 'setup.py').read_text()
    trees = [ast.parse(path.read_text(encoding='utf-8')) for path in PACKAGE.rglob('*.py')]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or '' for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    others = {name.partition('.')[0] for name in names} - {'mmposenc', *sys.stdlib_module_names}
    assert [name for name in others if f"'{ASKED_AS.get(name, name)}" not in setup] == []


def test_importing_the_package_imports_neither_torch_nor_the_stack() -> None:
    code = 'import sys, mmposenc; print(sorted({"torch", "mmengine", "numpy"} & set(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
