import re

import pytest
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.datasets.categories import CIFAR10_CATEGORIES, CIFAR100_CATEGORIES

from mmposenc.mm.datasets.cifar_archive import ARCHIVES


@pytest.mark.parametrize(
    'archive, host, classes',
    [(ARCHIVES['CIFAR10'], CIFAR10, CIFAR10_CATEGORIES), (ARCHIVES['CIFAR100'], CIFAR100, CIFAR100_CATEGORIES)],
)
def test_the_table_agrees_with_the_hosts(archive, host, classes):
    assert archive.classes == tuple(classes)
    assert (archive.url, archive.filename, archive.md5) == (host.url, host.filename, host.tgz_md5)
    assert archive.folder == host.base_folder
    members = dict([*host.train_list, *host.test_list, (host.meta['filename'], host.meta['md5'])])
    assert archive.members == members
    assert archive.splits == {
        'train': tuple(name for name, _ in host.train_list),
        'test': tuple(name for name, _ in host.test_list),
    }
    assert (archive.meta, archive.classes_key) == (host.meta['filename'], host.meta['key'])


@pytest.mark.parametrize('archive', ARCHIVES.values(), ids=list(ARCHIVES))
def test_every_checksum_is_one(archive):
    checksums = [archive.md5, *archive.members.values()]
    assert len(set(checksums)) == len(checksums)
    assert all(re.fullmatch('[0-9a-f]{32}', checksum) for checksum in checksums)
