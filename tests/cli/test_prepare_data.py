"""`mmposenc prepare-data` on a tiny copy of CIFAR-100."""

import pickle

import numpy as np


def test_it_counts_what_is_there_and_says_what_is_not_official(tool, fails, tmp_path, capsys):
    for name, num in (('train', 4), ('test', 2)):
        path = tmp_path / 'cifar-100-python' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps({'data': np.zeros((num, 3072), np.uint8), 'fine_labels': [0] * num}))
    arguments = ['--dataset', 'cifar100', '--data-root', tmp_path]
    tool('prepare-data')([*arguments, '--no-verify'])
    assert capsys.readouterr().out.splitlines() == [
        f'cifar100 train: 4 images, 100 classes, in {tmp_path}',
        f'cifar100 test: 2 images, 100 classes, in {tmp_path}',
    ]
    assert 'is not the official file' in fails('prepare-data', *arguments)
