import pickle
import shutil

import numpy as np
import pytest
import torch

from mmposenc.mm.datasets.cifar_archive import ARCHIVES
from mmposenc.mm.datasets.cifar_split import read_cifar_split

CIFAR10, CIFAR100 = ARCHIVES['CIFAR10'], ARCHIVES['CIFAR100']


@pytest.fixture
def read(tmp_path):
    """Writes one file as the CIFAR-100 training split and reads it back."""

    def read(**content):
        (tmp_path / 'train').write_bytes(pickle.dumps(content))
        return read_cifar_split(CIFAR100, tmp_path, 'train', verify=False)

    return read


def test_pixels_by_hand(read):
    """A row is the red plane, then green, then blue, each row by row."""
    data = np.zeros((2, 3072), np.uint8)
    data[1, 0], data[1, 33], data[1, 1024], data[1, 2048 + 31] = 10, 20, 30, 40
    images, labels = read(data=data, fine_labels=[99, 0])
    assert images.shape == (2, 3, 32, 32)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert labels.tolist() == [99, 0]
    assert [images[1, 0, 0, 0], images[1, 0, 1, 1], images[1, 1, 0, 0], images[1, 2, 0, 31]] == [10, 20, 30, 40]
    assert images.sum() == 100


def test_five_files_make_the_training_split_in_order(tmp_path):
    for i in range(5):
        content = {'data': np.full((2, 3072), i, np.uint8), 'labels': [i, i + 1]}
        (tmp_path / f'data_batch_{i + 1}').write_bytes(pickle.dumps(content))
    images, labels = read_cifar_split(CIFAR10, tmp_path, 'train', verify=False)
    assert images[:, 2, 31, 31].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert labels.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]


@pytest.mark.parametrize('labels', [np.array([5, 6]), [np.int64(5), np.int64(6)], np.array([5, 6], np.uint8)])
def test_labels_of_numpy(read, labels):
    assert read(data=np.zeros((2, 3072), np.uint8), fine_labels=labels)[1].tolist() == [5, 6]


@pytest.mark.parametrize('labels', [[-1, 5], [5, 100]])
def test_labels_out_of_range(read, labels):
    with pytest.raises(ValueError, match=f'must lie in 0 to 99, got values from {labels[0]} to {labels[1]}'):
        read(data=np.zeros((2, 3072), np.uint8), fine_labels=labels)


@pytest.mark.parametrize('labels', [[1], [1, 2, 3], np.array([0.5, 1]), np.array([[1], [2]]), 7, 'ab'])
def test_labels_that_do_not_fit(read, labels):
    with pytest.raises(ValueError, match='must be one integer for each of its images'):
        read(data=np.zeros((2, 3072), np.uint8), fine_labels=labels)


@pytest.mark.parametrize('culprit', [True, 0.5, 'a', None])
def test_labels_that_are_no_integers(read, culprit):
    with pytest.raises(ValueError, match=f'must be integers, got {culprit!r}'):
        read(data=np.zeros((2, 3072), np.uint8), fine_labels=[1, culprit])


@pytest.mark.parametrize(
    'data',
    [
        np.zeros((2, 3072), np.float32),
        np.zeros((2, 1024), np.uint8),
        np.zeros((2, 3, 32, 32), np.uint8),
        np.zeros((), np.uint8),
        [[0] * 3072] * 2,
    ],
)
def test_images_of_another_shape_or_type(read, data):
    with pytest.raises(ValueError, match=r'must be uint8 of shape \(n, 3072\), got'):
        read(data=data, fine_labels=[1, 2])


def test_an_empty_file(read):
    with pytest.raises(ValueError, match='at least one'):
        read(data=np.zeros((0, 3072), np.uint8), fine_labels=[])


def test_a_file_of_cifar10(read):
    with pytest.raises(ValueError, match=r"'fine_labels' to be a file of CIFAR-100, got .*: it looks like CIFAR-10"):
        read(data=np.zeros((2, 3072), np.uint8), labels=[1, 2])


def test_a_file_that_calls_itself_the_other_split(read):
    with pytest.raises(ValueError, match="should belong to 'train', but it calls itself 'testing batch 1 of 1'"):
        read(data=np.zeros((2, 3072), np.uint8), fine_labels=[1, 2], batch_label=b'testing batch 1 of 1')


def test_a_file_of_the_other_split_s_size(read):
    with pytest.raises(ValueError, match="holds 10000 images for 'train': this is the size of 'test'"):
        read(data=np.zeros((10000, 3072), np.uint8), fine_labels=[0] * 10000)


def test_one_file_under_two_names(cifar100_root):
    folder = cifar100_root / 'cifar-100-python'
    shutil.copy(folder / 'test', folder / 'train')
    with pytest.raises(ValueError, match=r'train and .*test are the same file'):
        read_cifar_split(CIFAR100, folder, 'train', verify=False)


def test_a_checksum_that_differs_stops_before_anything_is_unpickled(cifar100_root):
    folder = cifar100_root / 'cifar-100-python'
    (folder / 'train').write_bytes(b'not even a pickle')
    with pytest.raises(
        ValueError, match=r'train \(17 bytes\) is not the official file: its md5 is .* expected 16019d7e'
    ):
        read_cifar_split(CIFAR100, folder, 'train', verify=True)


def test_matching_checksums_are_accepted(tiny_archive, cifar100_root):
    images, _ = read_cifar_split(tiny_archive, cifar100_root / 'cifar-100-python', 'test', verify=True)
    assert images[:, 0, 0, 0].tolist() == [100, 101, 102, 103, 104]


def test_a_truncated_file(cifar100_root):
    path = cifar100_root / 'cifar-100-python' / 'test'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match='test cannot be read: it is truncated'):
        read_cifar_split(CIFAR100, path.parent, 'test', verify=False)


def test_a_missing_file(cifar100_root):
    (cifar100_root / 'cifar-100-python' / 'test').unlink()
    with pytest.raises(FileNotFoundError, match='test of CIFAR-100 is missing'):
        read_cifar_split(CIFAR100, cifar100_root / 'cifar-100-python', 'test', verify=False)


def test_the_meta_file_must_agree_with_the_known_classes(cifar100_root):
    folder = cifar100_root / 'cifar-100-python'
    names = list(CIFAR100.classes)
    (folder / 'meta').write_bytes(pickle.dumps({'fine_label_names': [name.encode() for name in names]}))
    assert len(read_cifar_split(CIFAR100, folder, 'test', verify=False)[0]) == 5
    (folder / 'meta').write_bytes(pickle.dumps({'fine_label_names': names[1:] + names[:1]}))
    with pytest.raises(ValueError, match='must list the 100 classes of CIFAR-100 in their official order'):
        read_cifar_split(CIFAR100, folder, 'test', verify=False)
