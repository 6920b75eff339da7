"""`mmposenc prepare-data` on a tiny copy of CIFAR-100."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from mmposenc import cli


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, num in (('train', 4), ('test', 2)):
        path = tmp_path / 'cifar-100-python' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps({'data': np.zeros((num, 3072), np.uint8), 'fine_labels': [0] * num}))
    return tmp_path


def test_it_counts_what_is_there(root, capsys):
    cli.call(['prepare-data', '--dataset', 'cifar100', '--data-root', str(root), '--no-verify'])
    assert capsys.readouterr().out.splitlines() == [
        f'cifar100 train: 4 images, 100 classes, in {root}',
        f'cifar100 test: 2 images, 100 classes, in {root}',
    ]


def test_a_file_that_is_not_official_ends_with_one_line(root, capsys, monkeypatch):
    monkeypatch.setattr('sys.argv', ['prepare_data.py', '--dataset', 'cifar100', '--data-root', str(root)])
    with pytest.raises(SystemExit) as stop:
        cli.main('prepare-data')
    printed = capsys.readouterr()
    assert stop.value.code == 1
    assert printed.err.startswith('error: ')
    assert 'is not the official file' in printed.err
    assert (printed.err.strip().count('\n'), printed.out) == (0, '')
