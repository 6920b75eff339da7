import pytest
import torch
from tiny_aspp import tiny_aspp
from torch import Tensor

from mmposenc.channels.aspp_parts import record_aspp
from mmposenc.channels.channel_choice import random_ranking
from mmposenc.channels.nested_sweep import nested_sweep
from mmposenc.channels.pooled_branch_sweep import PooledBranchSweep

SLICES = [(0, 5), (0, 1), (3, 6), (0, 12), (6, 9), (0, 9)]


def swept(parts: PooledBranchSweep, order: tuple[int, ...], slices: list, chunk: int) -> tuple[Tensor, list[int]]:
    """Logits in the order of the slices, and how many came at once."""
    pieces = list(parts.logits(order, slices, chunk))
    places = [place for places, _ in pieces for place in places]
    assert sorted(places) == list(range(len(slices)))
    logits = torch.cat([logits for _, logits in pieces])
    return logits[torch.tensor(places).argsort()], [len(places) for places, _ in pieces]


@pytest.mark.parametrize('size', [(1, 1), (2, 5), (7, 9), (16, 8)])
@pytest.mark.parametrize('bias', [False, True])
@torch.no_grad()
def test_it_gives_what_the_hook_gives(size: tuple[int, int], bias: bool) -> None:
    model = tiny_aspp(bias)
    order = random_ranking(12, 3, 'image_pool.0').order
    images = torch.randn(2, 3, *size)
    with record_aspp(model) as record:
        base = model(images)
    hooked = torch.stack(list(nested_sweep(model, 'image_pool.0', order, SLICES, lambda: model(images))))
    assert not any(torch.equal(logits, base) for logits in hooked), 'every variant changes something'
    for image in range(2):
        for chunk, sizes in ((1, [1] * 6), (4, [4, 2]), (10, [6])):
            logits, at_once = swept(PooledBranchSweep(model, record, image), order, SLICES, chunk)
            assert (logits - hooked[:, image]).abs().max() < 1e-5 * base.abs().max()
            assert at_once == sizes


@torch.no_grad()
def test_the_record_is_left_alone_and_a_chunk_is_as_large_as_it_says() -> None:
    model = tiny_aspp()
    with record_aspp(model) as record:
        model(torch.randn(1, 3, 8, 6))
    kept = record.bottleneck[0].clone()
    parts = PooledBranchSweep(model, record, 0)
    first, _ = swept(parts, tuple(range(12)), SLICES, 2)
    again, _ = swept(parts, tuple(range(12)), SLICES, 2)
    assert torch.equal(first, again)
    assert torch.equal(kept, record.bottleneck[0])
    assert parts.variant_bytes == 2 * 6 * 8 * 6 * 4
