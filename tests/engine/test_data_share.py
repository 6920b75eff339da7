"""Which images a rank counts, and names of data sets."""

from types import SimpleNamespace

import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from mmposenc.mm.loops import data_share
from mmposenc.mm.loops.data_share import build_loader, describe_data, loader_of, share_of_rank


@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize('size, world_size', [(5, 2), (6, 2), (7, 3), (8, 8), (9, 4), (4, 1)])
def test_the_shares_hold_each_image_once(
    monkeypatch: pytest.MonkeyPatch, size: int, world_size: int, round_up: bool
) -> None:
    counted = []
    for rank in range(world_size):
        for module in (data_share, __import__('mmengine.dataset.sampler', fromlist=['sampler'])):
            monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, world_size))
        sampler = DefaultSampler(range(size), shuffle=True, seed=3, round_up=round_up)
        loader = DataLoader(range(size), batch_size=2, sampler=sampler)
        given = [index for batch in loader for index in batch.tolist()]
        share = share_of_rank(loader)
        counted += given[:share]
        assert len(given) - share in ((0, 1) if round_up else (0,))
    assert sorted(counted) == list(range(size))


def test_what_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match='the data set or the subset is empty, so there is nothing to rank'):
        share_of_rank(DataLoader([]))
    monkeypatch.setattr(data_share, 'get_dist_info', lambda: (1, 4))
    with pytest.raises(ValueError, match='4 processes cannot share 3 images: start at most 3'):
        share_of_rank(DataLoader(range(3)))
    with pytest.raises(ValueError, match=r"need sampler=dict\(type='DefaultSampler', .* got SequentialSampler"):
        share_of_rank(DataLoader(range(9)))


def test_a_loader_is_built_once() -> None:
    loader = DataLoader(range(3))
    assert build_loader(loader) is loader
    built = build_loader(dict(dataset=range(3), batch_size=1, sampler=dict(type='DefaultSampler')))
    assert len(built.dataset) == 3


def test_names_hold_no_folders() -> None:
    class Scenes(SimpleNamespace):
        pass

    prefix = dict(img_path='/somewhere/leftImg8bit/val', seg_map_path='/somewhere/gtFine/val')
    assert describe_data(Scenes(data_prefix=prefix, ann_file='')) == 'Scenes val'
    assert describe_data(Scenes(data_prefix=prefix, ann_file='/lists/val-left.txt')) == 'Scenes val val-left.txt'
    assert describe_data(Scenes(split='test')) == 'Scenes test'
    assert describe_data(range(3)) == 'range'


def test_a_loader_of_given_batches_is_like_the_other():
    like = DataLoader([10, 11, 12, 13], batch_size=3, shuffle=True, collate_fn=tuple)
    assert list(loader_of([[3, 0], [1]], like)) == [(13, 10), (11,)]
