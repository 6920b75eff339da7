"""The package as it is installed: sdist, wheel, and the message when the OpenMMLab stack is missing."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mmposenc

ROOT = Path(__file__).parents[1]
NEED_STACK = {
    'train': 'a.py',
    'test': 'a.py b.pth',
    'rank_channels': 'a.py b.pth',
    'sweep': 'a.py b.pth --rankings c.json',
    'draw_grid': 'a.py',
    'make_region_lists': 'a.py --out-dir b',
    'prepare_data': '--dataset cifar10',
}
# `make test` runs on this interpreter's environment, so the hosts are importable in these processes too.
HIDE_HOSTS = """if True:
    import sys

    class Hidden:
        def find_spec(self, name, path=None, target=None):
            if name.split('.')[0] in ('mmengine', 'mmcv', 'mmpretrain', 'mmseg'):
                raise ModuleNotFoundError(f'No module named {name!r}', name=name)

    sys.meta_path.insert(0, Hidden())
"""


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    options = dict(env={**os.environ, **environment}, capture_output=True, text=True, timeout=200)
    return subprocess.run([sys.executable, *arguments], cwd=cwd, **options)


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    source, out = tmp_path_factory.mktemp('source') / 'copy', tmp_path_factory.mktemp('dist')
    keep = {path.name for path in ROOT.iterdir() if not path.name.startswith('.')} - {'data', 'work_dirs', 'tests'}

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name == '__pycache__' or (Path(folder) == ROOT and name not in keep)]

    shutil.copytree(ROOT, source, ignore=left_out)
    done = python('-m', 'build', '--no-isolation', '--outdir', str(out), cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def scripts_below(folder: Path) -> set[str]:
    paths = [*folder.rglob('*.py'), *folder.rglob('*.sh')]
    return {path.relative_to(folder).as_posix() for path in paths if '__pycache__' not in path.parts}


@pytest.mark.slow
def test_the_archives_hold_what_they_must_and_pass_the_index_s_check(built: Path) -> None:
    (wheel,), (sdist,) = built.glob('*.whl'), built.glob('*.tar.gz')
    assert wheel.name == f'mmposenc-{mmposenc.__version__}-py3-none-any.whl'
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f'mmposenc/{name}' for name in scripts_below(ROOT / 'mmposenc')} | {'mmposenc/.mim/model-index.yml'}
    for folder in ('configs', 'tools'):
        expected |= {f'mmposenc/.mim/{folder}/{name}' for name in scripts_below(ROOT / folder)}
    assert expected - names == {'mmposenc/.mim/tools/demo.py'}  # the demo belongs to a clone
    assert not [name for name in names if name.startswith(('tests/', 'configs/', 'tools/'))]
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert {'setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'model-index.yml'} <= names
    done = python('-m', 'twine', 'check', '--strict', str(wheel), str(sdist), cwd=built)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('PASSED') == 2


@pytest.mark.slow
def test_the_installed_wheel_works(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob('*.whl')
    target = tmp_path / 'site'
    done = python('-m', 'pip', 'install', '--no-deps', '--no-index', '--target', str(target), str(wheel), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code = """if True:
        import mmposenc, mmposenc.channels
        from pathlib import Path
        from mmengine.config import Config
        from mmposenc.registry import HOOKS
        assert Path(mmposenc.__file__).parts[-3] == 'site', mmposenc.__file__
        configs = sorted((Path(mmposenc.__file__).parent / '.mim' / 'configs').glob('*.py'))
        import mmposenc.mm
        Path('a.py').write_text("_base_ = 'mmposenc::augshift_r18_cifar100.py'")
        assert Config.fromfile('a.py').model.type == 'mmposenc.AugShiftClassifier'
        print(HOOKS.get('mmposenc.AtomicCheckpointHook').__module__, len(configs))
    """
    done = python('-c', code, cwd=tmp_path, PYTHONPATH=str(target))
    assert done.returncode == 0, done.stderr
    count = len(list((ROOT / 'configs').glob('*.py')))
    assert done.stdout.splitlines()[-1] == f'mmposenc.host.resume {count}'
    tool = target / 'mmposenc' / '.mim' / 'tools' / 'train.py'
    done = python(str(tool), '--help', cwd=tmp_path, PYTHONPATH=str(target))
    assert done.returncode == 0, done.stderr
    assert '--resume' in done.stdout


@pytest.mark.slow
def test_without_the_stack_a_tool_ends_with_one_line(tmp_path: Path) -> None:
    code = f"""{HIDE_HOSTS}
    import runpy, warnings
    warnings.simplefilter('ignore')
    for tool, arguments in {NEED_STACK}.items():
        sys.argv = [tool, *arguments.split()]
        try:
            runpy.run_path(f'{ROOT}/tools/{{tool}}.py', run_name='__main__')
        except SystemExit as end:
            print(end.code)
"""
    done = python('-c', code, cwd=tmp_path)
    line = (
        "error: No module named 'mmengine': this command needs the OpenMMLab stack, pip install 'mmposenc[onedl]' "
        "(or 'mmposenc[openmmlab]', the official distributions, in an environment of its own)"
    )
    assert done.stderr.splitlines() == [line] * len(NEED_STACK)
    assert done.stdout.split() == ['1'] * len(NEED_STACK)


def test_mmpretrain_finds_the_models_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmpretrain.apis.model import ModelHub
    from modelindex.load_model_index import load

    monkeypatch.setattr(ModelHub, '_models_dict', {})
    monkeypatch.chdir(ROOT)
    assert load('model-index.yml').check(silent=True) == []
    ModelHub.register_model_index('model-index.yml', config_prefix=ROOT)
    headline = ModelHub.get('augshift_r18_cifar100')
    assert headline.config.model.type == 'mmposenc.AugShiftClassifier'
    (result,) = headline.results
    earlier = json.loads((ROOT / 'docs' / 'results' / 'earlier.json').read_text())
    records = {record['name']: record for record in earlier if record['name'].startswith('table2-')}
    figures = records['table2-cifar100-augshift']['figures']
    assert result.metrics == {
        'Top 1 Accuracy': figures['accuracy/top1'],
        'Cons.8 zero_ref': figures['consistency/cons8_zero_ref'],
    }
    named = {Path(record['commands'][0].split()[2]).stem for record in records.values()}
    assert named <= set(ModelHub._models_dict)
