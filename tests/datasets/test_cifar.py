import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmposenc.mm.datasets.cifar import CIFAR10, CIFAR100
from mmposenc.mm.datasets.cifar_archive import ARCHIVES


def test_both_splits(cifar100_root):
    train, test = (CIFAR100(str(cifar100_root), split, verify=False) for split in ('train', 'test'))
    assert (len(train), len(test)) == (12, 5)
    assert train.images[:, 1, 16, 16].tolist() == list(range(1, 13))
    assert test.images[:, 1, 16, 16].tolist() == list(range(100, 105))
    assert test.labels.tolist() == [0, 3, 6, 9, 12]


def test_classes_are_known_without_the_meta_file(cifar100_root):
    classes = CIFAR100(str(cifar100_root), verify=False).metainfo['classes']
    assert len(classes) == 100
    assert (classes[0], classes[8], classes[99]) == ('apple', 'bicycle', 'worm')


def test_subsets(cifar100_root):
    whole = CIFAR100(str(cifar100_root), verify=False)
    for subset, kept in [({'indices': 3}, slice(3)), ({'indices': [11, 2]}, [11, 2]), ({'fraction': 0.25}, [0, 4, 8])]:
        part = CIFAR100(str(cifar100_root), verify=False, **subset)
        assert torch.equal(part.images, whole.images[kept])
        assert torch.equal(part.labels, whole.labels[kept])


def test_cifar10_of_five_files(tmp_path):
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    for i in range(1, 6):
        content = {'data': np.full((3, 3072), i, np.uint8), 'labels': [i, 0, 9]}
        (folder / f'data_batch_{i}').write_bytes(pickle.dumps(content))
    data = CIFAR10(str(tmp_path), verify=False)
    assert data.images[::3, 0, 0, 0].tolist() == [1, 2, 3, 4, 5]
    assert data.metainfo['classes'][:2] == ('airplane', 'automobile')


@pytest.mark.parametrize('num_workers', [0, 2])
def test_mmengine_builds_a_loader_of_whole_batches(cifar100_root, num_workers):
    loader = Runner.build_dataloader(
        {
            'dataset': {'type': 'mmposenc.CIFAR100', 'data_root': str(cifar100_root), 'verify': False},
            'sampler': {'type': 'DefaultSampler', 'shuffle': True},
            'collate_fn': {'type': 'mmposenc.pass_batch'},
            'batch_size': 5,
            'num_workers': num_workers,
        },
        seed=3,
    )
    batches = list(loader)
    assert [tuple(batch['inputs'].shape) for batch in batches] == [(5, 3, 32, 32), (5, 3, 32, 32), (2, 3, 32, 32)]
    indices = torch.cat([batch['indices'] for batch in batches])
    assert sorted(indices.tolist()) == list(range(12))
    assert indices.tolist() != list(range(12))
    assert torch.equal(torch.cat([batch['labels'] for batch in batches]), 3 * indices)
    assert torch.equal(torch.cat([batch['inputs'][:, 0, 0, 0] for batch in batches]), (indices + 1).byte())


def test_a_re_packed_copy_needs_verify_false(cifar100_root):
    with pytest.raises(ValueError, match=r'md5 is .* re-packed copy that you trust, verify=False accepts it'):
        CIFAR100(str(cifar100_root))


@pytest.mark.parametrize('split', ['val', 'Train', None])
def test_unknown_split(split):
    with pytest.raises(ValueError, match=rf"split must be one of \['train', 'test'\], got {split!r}"):
        CIFAR100(split=split)


def test_subset_errors_reach_the_user(cifar100_root):
    with pytest.raises(ValueError, match='indices=13 asks for the first 13 samples; allowed are 1 to 12'):
        CIFAR100(str(cifar100_root), verify=False, indices=13)
    with pytest.raises(ValueError, match=r'fraction must be a number in \(0, 1\], got 2'):
        CIFAR100(str(cifar100_root), verify=False, fraction=2)


def test_a_hostile_file_does_not_run(cifar100_root, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    (cifar100_root / 'cifar-100-python' / 'train').write_bytes(pickle.dumps({'data': Hostile()}))
    with pytest.raises(ValueError, match=r'forbidden.*Nothing of it was run'):
        CIFAR100(str(cifar100_root), verify=False)
    assert not (tmp_path / 'ran').exists()


def test_download_then_offline(served, site, tmp_path):
    served()
    root = str(tmp_path / 'new')
    assert len(CIFAR100(root)) == 12
    assert len(CIFAR100(root, 'test', download=False)) == 5
    assert len(site.asked) == 1


def test_only_the_first_process_downloads(served, site, tmp_path, monkeypatch):
    served()
    barriers = []
    monkeypatch.setattr('mmposenc.mm.datasets.cifar.is_main_process', lambda: False)
    monkeypatch.setattr('mmposenc.mm.datasets.cifar.barrier', lambda: barriers.append(1))
    with pytest.raises(FileNotFoundError, match='train of CIFAR-100 is missing'):
        CIFAR100(str(tmp_path / 'new'))
    assert (site.asked, barriers) == ([], [1])


def test_the_others_are_released_when_the_first_process_fails(tiny_archive, tmp_path, monkeypatch):
    barriers = []
    monkeypatch.setattr('mmposenc.mm.datasets.cifar.barrier', lambda: barriers.append(1))
    with pytest.raises(FileNotFoundError, match='Put cifar-100-python'):
        CIFAR100(str(tmp_path / 'new'))
    assert barriers == [1]


_RANK = """
import dataclasses, sys, torch
from mmposenc.mm.datasets.cifar import CIFAR100
from mmposenc.mm.datasets.cifar_archive import ARCHIVES
rank, store, root, url, md5 = sys.argv[1:]
ARCHIVES['CIFAR100'] = dataclasses.replace(ARCHIVES['CIFAR100'], url=url, md5=md5)
torch.distributed.init_process_group('gloo', init_method=f'file://{store}', rank=int(rank), world_size=2)
print('images:', len(CIFAR100(root, 'test', verify=False)))
torch.distributed.destroy_process_group()
"""


@pytest.mark.dist
def test_two_processes_share_one_download(served, site, tmp_path):
    archive = served()
    arguments = [str(tmp_path / 'store'), str(tmp_path / 'new'), archive.url, archive.md5]
    ranks = [
        subprocess.Popen([sys.executable, '-c', _RANK, str(rank), *arguments], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert all('images: 5' in output for output in outputs)
    assert len(site.asked) == 1


def test_the_table_is_looked_up_when_a_data_set_is_built(tiny_archive, cifar100_root):
    assert ARCHIVES['CIFAR100'] is tiny_archive
    assert len(CIFAR100(str(cifar100_root), verify=True, download=False)) == 12
