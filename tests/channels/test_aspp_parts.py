import pytest
import torch
from tiny_aspp import tiny_aspp

from mmposenc.channels.ablation import ablate_channels
from mmposenc.channels.aspp_parts import bottleneck_share, norm_scale, pooled_vectors, record_aspp


@torch.no_grad()
def test_a_record_holds_what_the_forward_went_through() -> None:
    model = tiny_aspp()
    images = torch.randn(2, 3, 7, 9)
    with record_aspp(model) as record:
        model(images)
    features = model.stem(images)
    assert torch.equal(record.features[0], features)
    torch.testing.assert_close(record.pooled[0][..., 0, 0], features.mean((2, 3)))
    assert [branch.shape for branch in record.branches] == [(2, 5, 7, 9)] * 3
    assert torch.equal(record.branches[1], model.aspp_modules[1].conv(features))
    assert record.bottleneck[0].shape == (2, 6, 7, 9)


def test_no_hook_stays_behind_also_after_an_exception() -> None:
    model = tiny_aspp()
    with pytest.raises(RuntimeError), record_aspp(model):
        model(torch.randn(1, 2, 7, 9))
    with torch.no_grad(), record_aspp(model) as record:
        pass
    model(torch.randn(1, 3, 7, 9))
    assert not any(module._forward_hooks for module in model.modules())
    assert record.features == []


@torch.no_grad()
def test_pooled_vectors_are_what_the_branch_gives_with_channels_off() -> None:
    model = tiny_aspp()
    features = torch.randn(1, 12, 5, 4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1)).tolist()
    slices = [(0, 3), (2, 7), (0, 12)]
    off, unchanged = pooled_vectors(model, model.image_pool[0](features), order, slices)
    torch.testing.assert_close(unchanged, model.image_pool(features)[:, :, 0, 0])
    for vector, (start, stop) in zip(off, slices, strict=True):
        with ablate_channels(model, 'image_pool.0', order[start:stop]):
            torch.testing.assert_close(vector, model.image_pool(features)[0, :, 0, 0])


@torch.no_grad()
def test_the_share_of_a_vector_by_hand() -> None:
    model = tiny_aspp()
    model.bottleneck.conv.weight.fill_(0)
    model.bottleneck.conv.weight[0, 0] = 1  # Output 0 sums the 3x3 neighbours of the pooling branch's channel 0.
    share = bottleneck_share(model, torch.tensor([[2.0, 9, 9, 9, 9]]), (6, 6))
    scale = norm_scale(model.bottleneck.norm)[0]
    torch.testing.assert_close(share[0, 0], scale * torch.tensor([[8.0, 12, 8], [12, 18, 12], [8, 12, 8]]))
    assert (share[0, 1:] == 0).all()


@torch.no_grad()
def test_the_scale_is_the_slope_of_the_norm() -> None:
    norm = tiny_aspp().bottleneck.norm
    slope = norm(torch.ones(1, 6, 1, 1)) - norm(torch.zeros(1, 6, 1, 1))
    torch.testing.assert_close(norm_scale(norm), slope.flatten())
    torch.testing.assert_close(
        norm_scale(torch.nn.BatchNorm2d(2, affine=False).eval()), torch.ones(2), atol=1e-4, rtol=0
    )
