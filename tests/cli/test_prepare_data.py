"""`mmposenc prepare-data` on a tiny copy of CIFAR-100."""

import pickle

import numpy as np
import pytest

from mmposenc import cli


def test_it_counts_what_is_there_and_says_what_is_not_official(tmp_path, capsys, monkeypatch):
    for name, num in (('train', 4), ('test', 2)):
        path = tmp_path / 'cifar-100-python' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps({'data': np.zeros((num, 3072), np.uint8), 'fine_labels': [0] * num}))
    command = ['prepare-data', '--dataset', 'cifar100', '--data-root', str(tmp_path)]
    cli.call([*command, '--no-verify'])
    assert capsys.readouterr().out.splitlines() == [
        f'cifar100 train: 4 images, 100 classes, in {tmp_path}',
        f'cifar100 test: 2 images, 100 classes, in {tmp_path}',
    ]
    monkeypatch.setattr('sys.argv', command)
    with pytest.raises(SystemExit) as stop:
        cli.main('prepare-data')
    printed = capsys.readouterr()
    assert (stop.value.code, printed.out, printed.err.strip().count('\n')) == (1, '', 0)
    assert printed.err.startswith('error: ')
    assert 'is not the official file' in printed.err
