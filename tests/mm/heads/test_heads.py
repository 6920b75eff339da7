"""The shared heads against plain forwards in float64, and when they stand aside."""

import pytest
import torch
from mmseg.models import EncoderDecoder
from tiny_networks import tiny_segmentor
from torch import nn

from mmposenc.channels import ablate_channels
from mmposenc.channels.shared_heads import slices_of_sums
from mmposenc.mm.heads import find_head

# Nested sets in no order, whole windows side by side, windows across the bounds of others, everything.
SLICES = [(0, 5), (0, 1), (3, 6), (0, 32), (6, 9), (2, 10), (9, 12), (0, 9)]
ASPP_POOL = 'decode_head.image_pool.0'
TWO_POOLED = dict(pool_scales=(2, 1, 1))
NO_DECODER = dict(c1_in_channels=0, c1_channels=0)


@torch.no_grad()
@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('head, options, layer', [
    *((head, {}, layer) for head in ('aspp', 'sep_aspp') for layer in (ASPP_POOL, 'backbone[-1]')),
    *(('psp', {}, layer) for layer in ('decode_head.psp_modules.0.0', 'backbone[-1]')),
    ('sep_aspp', NO_DECODER, 'backbone[3]'),
    ('psp', TWO_POOLED, 'decode_head.psp_modules.2.0'),
    ('psp', TWO_POOLED, 'backbone[-1]'),
])  # fmt: skip
def test_every_variant_equals_a_plain_forward(head: str, options: dict, layer: str, align_corners: bool) -> None:
    model = tiny_segmentor(head, align_corners=align_corners, **options)
    shared, reason = find_head(model, layer)
    assert shared is not None, reason
    order = torch.randperm(32, generator=torch.Generator().manual_seed(3)).tolist()
    different = 0
    for size in ((37, 61), (9, 8), (1, 1), (20, 17)):  # Maps of 5x8, 2x1, 1x1 and 3x3 pixels.
        images = torch.randn(2, 3, *size, dtype=torch.float64)
        with shared.record() as seen:
            base = model(images, mode='tensor')
        expected = []
        for start, stop in SLICES:
            with ablate_channels(model, layer, order[start:stop]):
                expected.append(model(images, mode='tensor'))
        for image, chunk in ((0, 1), (0, 3), (1, 10)):
            variants = shared.variants({name: tensor[image : image + 1] for name, tensor in seen.items()})
            places = []
            for chosen, logits in variants.logits(order, SLICES, chunk):
                assert len(chosen) == len(logits) <= chunk
                places += chosen
                for place, found in zip(chosen, logits, strict=True):
                    assert (found - expected[place][image]).abs().max() < 1e-12 * base.abs().max()
            assert sorted(places) == list(range(len(SLICES)))
        different += sum(not torch.equal(logits, base) for logits in expected)
    assert different > 24, 'the variants differ'
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize('layer', [ASPP_POOL, 'backbone[-1]'])
@pytest.mark.parametrize('method', ['postprocess_result', 'predict', 'encode_decode'])
def test_a_model_with_a_method_of_its_own_is_run_as_it_is(method: str, layer: str) -> None:
    changed = type('Changed', (EncoderDecoder,), {method: lambda self: None})
    assert find_head(tiny_segmentor(kind=changed), layer) == (None, f'Changed has its own {method}')
    assert find_head(tiny_segmentor(kind=type('Unchanged', (EncoderDecoder,), {})), layer)[0] is not None


def test_what_is_set_on_an_instance_is_seen() -> None:
    for place, name in (('', 'the model'), ('decode_head', 'decode_head'), ('decode_head.bottleneck.conv',) * 2):
        model = tiny_segmentor()
        model.get_submodule(place).register_forward_hook(lambda *args: None)
        assert find_head(model, ASPP_POOL) == (None, f'{name} has forward hooks')
    model = tiny_segmentor()
    model.decode_head.cls_seg = lambda features: features
    assert find_head(model, ASPP_POOL) == (None, 'EncoderDecoder has its own cls_seg')
    model = tiny_segmentor()
    model.decode_head.bottleneck.conv.bias = nn.Parameter(torch.ones(8))
    assert find_head(model, ASPP_POOL)[0] is None


@pytest.mark.parametrize('head, options, layer, reason', [
    ('fcn', {}, 'backbone[-1]', 'the head is FCNHead, not one of ASPPHead, DepthwiseSeparableASPPHead, PSPHead'),
    ('aspp', {}, 'backbone[0]', 'the layer is neither decode_head.image_pool.0 nor what the head gets'),
    ('aspp', {}, 'backbone.layer4', 'the layer is neither'),
    ('aspp', {}, 'decode_head.bottleneck', 'the layer is neither'),
    ('psp', dict(pool_scales=(2, 3)), 'decode_head.psp_modules.0.0', 'the layer is neither a pooled layer nor'),
    ('sep_aspp', dict(in_index=0, in_channels=4), 'backbone[0]', 'the decoder takes its early features from the same'),
    ('aspp', dict(norm_cfg=None), ASPP_POOL, 'a block is not a zero-padded convolution'),
    ('aspp', dict(norm_cfg=dict(type='GN', num_groups=2)), ASPP_POOL, 'a block is not'),
    ('aspp', dict(act_cfg=None), ASPP_POOL, 'a block is not'),
    ('aspp', dict(in_channels=[16, 32], in_index=[2, 3], input_transform='resize_concat'), 'backbone[-1]', 'neither'),
])  # fmt: skip
def test_reasons(head: str, options: dict, layer: str, reason: str) -> None:
    found, said = find_head(tiny_segmentor(head, **options), layer)
    assert found is None
    assert reason in said


def test_rounding_of_half_precision_does_not_add_up() -> None:
    # In bfloat16, 512 - 1 is 512 again.
    slices = [(0, stop) for stop in range(1, 513)]
    sums = dict(slices_of_sums(torch.full((1,), 512.0).bfloat16(), lambda a, b: torch.ones(1).bfloat16(), slices))
    assert sums[511].dtype == torch.bfloat16
    assert [float(sums[position]) for position in (255, 383, 511)] == [256, 128, 0]
