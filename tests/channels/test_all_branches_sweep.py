from unittest import mock

import pytest
import torch
from test_pooled_branch_sweep import swept
from tiny_aspp import tiny_aspp

from mmposenc.channels.all_branches_sweep import AllBranchesSweep
from mmposenc.channels.aspp_parts import record_aspp
from mmposenc.channels.channel_choice import random_ranking
from mmposenc.channels.nested_sweep import nested_sweep

# Nested sets in no order, whole windows side by side, windows across the bounds of others, everything.
SLICES = [(0, 5), (0, 1), (3, 6), (0, 12), (6, 9), (2, 10), (9, 12), (0, 9)]


@pytest.mark.parametrize('size', [(1, 1), (2, 5), (7, 9), (16, 8)])
@pytest.mark.parametrize('bias', [False, True])
@torch.no_grad()
def test_it_gives_what_the_hook_gives(size: tuple[int, int], bias: bool) -> None:
    model = tiny_aspp(bias)
    order = random_ranking(12, 3, 'stem').order
    images = torch.randn(2, 3, *size)
    with record_aspp(model) as record:
        base = model(images)
    hooked = torch.stack(list(nested_sweep(model, 'stem', order, SLICES, lambda: model(images))))
    assert not any(torch.equal(logits, base) for logits in hooked), 'every variant changes something'
    for image in range(2):
        for chunk in (1, 3, 10):
            logits, at_once = swept(AllBranchesSweep(model, record, image), order, SLICES, chunk)
            assert (logits - hooked[:, image]).abs().max() < 1e-5 * base.abs().max()
            assert max(at_once) == min(chunk, len(SLICES))


@torch.no_grad()
def test_windows_come_from_the_blocks_that_the_nested_sets_need() -> None:
    model = tiny_aspp()
    with record_aspp(model) as record:
        model(torch.randn(1, 3, 8, 6))
    parts = AllBranchesSweep(model, record, 0)
    kept = parts.total.clone()
    tops = [(0, 3), (0, 6), (0, 9), (0, 12)]
    for slices, blocks in ((tops, 4), ([*tops, (0, 3), (3, 6), (6, 9), (9, 12)], 4), ([(0, 6)], 1), ([(3, 6)], 2)):
        with mock.patch.object(parts, '_without', wraps=parts._without) as convolved:
            swept(parts, tuple(range(12)), slices, 2)
        assert convolved.call_count == blocks
    assert torch.equal(parts.total, kept)


@torch.no_grad()
def test_the_order_in_which_slices_are_asked_does_not_matter() -> None:
    model = tiny_aspp()
    with record_aspp(model) as record:
        model(torch.randn(1, 3, 8, 6))
    parts = AllBranchesSweep(model, record, 0)
    forward, _ = swept(parts, tuple(range(12)), SLICES, 1)
    backward, _ = swept(parts, tuple(range(12)), SLICES[::-1], 1)
    assert torch.equal(forward, backward.flip(0))
