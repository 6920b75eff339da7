import tarfile
from dataclasses import replace

import pytest

from mmposenc.mm.datasets.file_md5 import file_md5
from mmposenc.mm.datasets.prepare_cifar import check_md5, prepare_cifar


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'new' / 'root'


def _names(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob('*') if path.is_file())


def _put(tarball, root):
    root.mkdir(parents=True)
    (root / tarball.name).write_bytes(tarball.read_bytes())


def test_download_and_unpack(served, site, root, cifar100_root):
    prepare_cifar(served(), root, 'train', verify=True, download=True)
    assert _names(root) == ['cifar-100-python.tar.gz', 'cifar-100-python/test', 'cifar-100-python/train']
    for name in ('train', 'test'):
        original = cifar100_root / 'cifar-100-python' / name
        assert (root / 'cifar-100-python' / name).read_bytes() == original.read_bytes()
    assert not (root / 'outside').exists()
    assert not (root.parent / 'outside').exists()


def test_nothing_is_asked_when_the_files_are_there(served, site, cifar100_root):
    prepare_cifar(served(), cifar100_root, 'test', verify=True, download=True)
    assert site.asked == []


def test_one_split_is_enough(tiny_archive, cifar100_root):
    (cifar100_root / 'cifar-100-python' / 'train').unlink()
    prepare_cifar(tiny_archive, cifar100_root, 'test', verify=True, download=False)
    with pytest.raises(FileNotFoundError):
        prepare_cifar(tiny_archive, cifar100_root, 'train', verify=True, download=False)


def test_an_archive_in_place_is_unpacked_without_a_network(tiny_archive, tarball, root):
    _put(tarball, root)
    prepare_cifar(tiny_archive, root, 'train', verify=True, download=False)
    assert _names(root) == ['cifar-100-python.tar.gz', 'cifar-100-python/test', 'cifar-100-python/train']


def test_files_that_are_there_are_not_replaced(tiny_archive, tarball, root):
    _put(tarball, root)
    (root / 'cifar-100-python').mkdir()
    (root / 'cifar-100-python' / 'test').write_text('mine')
    prepare_cifar(tiny_archive, root, 'train', verify=True, download=False)
    assert (root / 'cifar-100-python' / 'test').read_text() == 'mine'
    assert (root / 'cifar-100-python' / 'train').is_file()


@pytest.mark.parametrize(
    'download, why', [(True, 'The download failed: .* cannot be reached'), (False, 'switched off')]
)
def test_no_network_and_no_data(tiny_archive, root, download, why):
    with pytest.raises(FileNotFoundError, match=why) as caught:
        prepare_cifar(tiny_archive, root, 'train', verify=True, download=download)
    message = str(caught.value)
    assert f'Put cifar-100-python.tar.gz from {tiny_archive.url} there' in message
    assert str(root / 'cifar-100-python.tar.gz') in message
    assert str(root / 'cifar-100-python' / 'train') in message
    assert not root.exists()


def test_an_altered_archive_is_not_unpacked(tiny_archive, tarball, root):
    _put(tarball, root)
    with (root / tarball.name).open('ab') as file:
        file.write(b'\0')
    with pytest.raises(ValueError, match=r'is not the official file: its md5 is .*verify=False accepts it'):
        prepare_cifar(tiny_archive, root, 'train', verify=True, download=True)
    assert _names(root) == ['cifar-100-python.tar.gz']
    prepare_cifar(tiny_archive, root, 'train', verify=False, download=False)
    assert 'cifar-100-python/train' in _names(root)


@pytest.mark.parametrize('damage', [lambda raw: raw[: len(raw) // 2], lambda raw: b'<html>', lambda raw: b''])
def test_a_broken_archive_leaves_nothing_half_written(tiny_archive, tarball, root, damage):
    _put(tarball, root)
    whole = tarball.read_bytes()
    (root / tarball.name).write_bytes(damage(whole))
    with pytest.raises(ValueError, match=r'is truncated or not a \.tar\.gz'):
        prepare_cifar(tiny_archive, root, 'train', verify=False, download=False)
    assert not list(root.rglob('*.part'))


def test_an_archive_of_something_else(tiny_archive, tarball, root):
    other = replace(tiny_archive, folder='cifar-10-batches-py')
    _put(tarball, root)
    with pytest.raises(ValueError, match=r'lacks cifar-10-batches-py/train, cifar-10-batches-py/test: it is not'):
        prepare_cifar(other, root, 'train', verify=False, download=False)


def test_a_link_in_the_archive_is_not_followed(tiny_archive, root, tmp_path):
    secret = tmp_path / 'secret'
    secret.write_text('mine')
    root.mkdir(parents=True)
    with tarfile.open(root / tiny_archive.filename, 'w:gz') as tar:
        link = tarfile.TarInfo('cifar-100-python/train')
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    with pytest.raises(ValueError, match='must be an ordinary file'):
        prepare_cifar(tiny_archive, root, 'train', verify=False, download=False)
    assert _names(root) == ['cifar-100-python.tar.gz']


def test_check_md5_names_the_official_file_that_it_is(tiny_archive, cifar100_root):
    folder = cifar100_root / 'cifar-100-python'
    check_md5(folder / 'train', file_md5(folder / 'train'))
    with pytest.raises(ValueError, match='it is the official file of CIFAR-100 test'):
        check_md5(folder / 'test', tiny_archive.members['train'])
