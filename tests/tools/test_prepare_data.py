import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / 'tools' / 'prepare_data.py'


@pytest.fixture
def prepare(monkeypatch):
    spec = importlib.util.spec_from_file_location('prepare_data', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def prepare(*arguments: str) -> int:
        monkeypatch.setattr('sys.argv', ['prepare_data.py', *arguments])
        try:
            tool.command_line.run(tool.main)
        except SystemExit as stop:
            return stop.code
        return 0

    return prepare


@pytest.fixture
def root(tmp_path):
    for name, num in (('train', 4), ('test', 2)):
        path = tmp_path / 'cifar-100-python' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps({'data': np.zeros((num, 3072), np.uint8), 'fine_labels': [0] * num}))
    return tmp_path


def test_it_says_what_is_there(prepare, root, capsys):
    assert prepare('--dataset', 'cifar100', '--data-root', str(root), '--no-verify') == 0
    assert capsys.readouterr().out.splitlines() == [
        f'cifar100 train: 4 images, 100 classes, in {root}',
        f'cifar100 test: 2 images, 100 classes, in {root}',
    ]


def test_a_mistake_ends_with_status_1_and_no_traceback(prepare, root, capsys):
    assert prepare('--dataset', 'cifar100', '--data-root', str(root)) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith('error: ')
    assert 'is not the official file' in printed.err
    assert 'Traceback' not in printed.err
    assert printed.out == ''


def test_an_unknown_data_set(prepare, capsys):
    assert prepare('--dataset', 'mnist') == 2
    printed = capsys.readouterr().err
    assert all(name in printed for name in ('mnist', 'cifar10', 'cifar100'))
