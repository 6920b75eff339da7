"""Whole networks of modern families: each job gives what the network gives when it is done by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torchvision.models as zoo
from torch import Tensor, nn
from torch.nn import functional as F

from mmposenc import (
    ablate_channels,
    augshift_loss,
    probe_location,
    rank_channels,
    shift_consistency,
    sweep_channels,
    two_views,
)
from mmposenc.layers import record_pooled
from mmposenc.shifts import draw_shifts

SIDE, PATCH, CLASSES = 24, 8, 7


class Network(NamedTuple):
    """How to make one, the layer it pools, its own features there, and whether circular padding gives the zero."""

    make: Callable[[], nn.Module]
    layer: str
    features: Callable[[Any, Tensor], Tensor]
    zero: bool = True


def timm() -> Any:
    return pytest.importorskip('timm', reason='networks of timm need timm')


def of_transformers(name: str, **sizes: Any) -> nn.Module:
    library = pytest.importorskip('transformers', reason='networks of transformers need transformers')
    config = getattr(library, f'{name}Config')(**sizes, image_size=SIDE, num_labels=CLASSES)
    return getattr(library, f'{name}ForImageClassification')(config)


def efficientnet() -> nn.Module:
    family = timm().models.efficientnet
    blocks = family.decode_arch_def([['ds_r1_k3_s1_e1_c8_se0.25'], ['ir_r1_k3_s2_e4_c16_se0.25']])
    return family.EfficientNet(blocks, CLASSES, num_features=32, stem_size=8)


def encoded(model: Any, images: Tensor) -> Tensor:
    patches = model._process_input(images)
    return model.encoder(torch.cat([model.class_token.expand(len(images), -1, -1), patches], 1))[:, 1:]


VIT = dict(img_size=SIDE, patch_size=PATCH, embed_dim=16, depth=2, num_heads=2, num_classes=CLASSES)
HF_VIT = dict(patch_size=PATCH, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
CONVNEXT = [zoo.convnext.CNBlockConfig(8, 16, 1), zoo.convnext.CNBlockConfig(16, None, 1)]
NETWORKS = {
    'torchvision ViT': Network(
        partial(zoo.VisionTransformer, SIDE, PATCH, 2, 2, 16, 32, num_classes=CLASSES), 'encoder.ln', encoded
    ),
    'torchvision Swin': Network(
        partial(zoo.SwinTransformer, [4, 4], 8, [1, 1], [2, 2], [3, 3], stochastic_depth_prob=0, num_classes=CLASSES),
        'norm',
        lambda model, images: model.norm(model.features(images)).flatten(1, 2),
        zero=False,
    ),
    'torchvision ConvNeXt': Network(
        partial(zoo.ConvNeXt, CONVNEXT, num_classes=CLASSES), 'features', lambda model, images: model.features(images)
    ),
    'torchvision MaxViT': Network(
        partial(zoo.MaxVit, (SIDE, SIDE), 8, 3, [8, 16], [1, 1], 4, 0, num_classes=CLASSES),
        'blocks.1',
        lambda model, images: model.blocks[1](model.blocks[0](model.stem(images))),
        zero=False,
    ),
    'timm ViT with registers': Network(
        lambda: timm().create_model('vit_small_patch14_reg4_dinov2', **VIT),
        'norm',
        lambda model, images: model.forward_features(images)[:, 5:],
    ),
    'timm DeiT, distilled': Network(
        lambda: timm().create_model('deit_tiny_distilled_patch16_224', **VIT),
        'norm',
        lambda model, images: model.forward_features(images)[:, 2:],
    ),
    'timm Mixer': Network(
        lambda: timm().models.MlpMixer(CLASSES, SIDE, patch_size=PATCH, num_blocks=2, embed_dim=16),
        'norm',
        lambda model, images: model.forward_features(images),
        zero=False,
    ),
    'timm EfficientNet': Network(efficientnet, 'bn2', lambda model, images: model.forward_features(images)),
    'transformers ViT': Network(
        partial(of_transformers, 'ViT', **HF_VIT),
        'vit.layernorm',
        lambda model, images: model.vit(images).last_hidden_state[:, 1:],
    ),
    'transformers ConvNextV2': Network(
        partial(of_transformers, 'ConvNextV2', num_stages=2, hidden_sizes=[8, 16], depths=[1, 1]),
        'convnextv2.encoder.stages.1',
        lambda model, images: model.convnextv2(images).last_hidden_state,
    ),
}


def build(name: str) -> tuple[nn.Module, str, Callable[[Tensor], Tensor]]:
    """A network in float64 in which every part counts, its layer, and from images to what it pools there, (N, C)."""
    torch.manual_seed(0)
    made = NETWORKS[name]
    model = made.make().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        mean = scores_of(model, blobs(24, SIDE)).mean(0)
        for module in model.modules():  # No class is that of every image.
            if getattr(module, 'out_features', None) == CLASSES and module.bias is not None:
                module.bias -= mean

    def pooled(images: Tensor) -> Tensor:
        features = made.features(model, images)
        return features.mean((2, 3) if features.ndim == 4 else 1)

    return model, made.layer, pooled


def scores_of(model: nn.Module, images: Tensor) -> Tensor:
    output = model(images)
    return getattr(output, 'logits', output)


def blobs(number: int, side: int) -> Tensor:
    return F.interpolate(2 * torch.randn(number, 3, 4, 4).double(), size=(side, side), mode='bilinear')


@pytest.mark.parametrize('name', NETWORKS)
def test_ranking_ablation_and_sweep_are_those_by_hand(name: str) -> None:
    model, layer, pooled = build(name)
    images = blobs(24, SIDE)
    with torch.no_grad():
        labels = scores_of(model, images).argmax(1)
        expected = (pooled(images) - pooled(images.flip(-1))).abs().mean(0)
    labels[::3] = (labels[::3] + 1) % CLASSES
    ranking = rank_channels(model, [images[:10], images[10:]], layer)
    assert ranking.scores == pytest.approx(expected.tolist())

    def without(number: int) -> Tensor:
        chosen = torch.tensor(ranking.order[:number], dtype=torch.long)

        def zero(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output.index_fill(1 if output.shape[1] == len(expected) else -1, chosen, 0)

        handle = model.get_submodule(layer).register_forward_hook(zero)
        with torch.no_grad():
            scores = scores_of(model, images)
        handle.remove()
        return scores

    with torch.no_grad(), ablate_channels(model, layer, ranking.order[:3]):
        torch.testing.assert_close(scores_of(model, images), without(3))
    numbers = (0, 3, 8)
    batches = [(images[:10], labels[:10]), (images[10:], labels[10:])]
    sweep = sweep_channels(model, batches, {'Eq. 2': ranking}, numbers, num_random=1, num_matched=0)
    whole, *ablated = (100 * (without(number).argmax(1) == labels).double().mean().item() for number in numbers)
    assert sweep.harm('Eq. 2').tolist() == pytest.approx([0, *(whole - top1 for top1 in ablated)])
    assert any(top1 != whole for top1 in ablated)


@pytest.mark.parametrize('name', NETWORKS)
def test_the_probe_divides_the_variance_of_the_networks_own_features(name: str) -> None:
    model, layer, pooled = build(name)
    num_images, cells = 8, 9
    images = blobs(num_images, PATCH)
    probe = probe_location(model, images, [layer], patch_size=PATCH)
    canvases = torch.zeros(num_images, cells, 3, SIDE, SIDE).double()
    for cell in range(cells):
        top, left = PATCH * (cell // 3), PATCH * (cell % 3)
        canvases[:, cell, :, top : top + PATCH, left : left + PATCH] = images
    with torch.no_grad():
        z = pooled(canvases.flatten(0, 1)).view(num_images, cells, -1)
    # The two-way analysis of variance by its mean squares.
    mean, by_cell, by_image = (z.mean(dim, keepdim=True) for dim in ((0, 1), 0, 1))
    between_cells = num_images * (by_cell - mean).square().sum((0, 1)) / (cells - 1)
    between_images = cells * (by_image - mean).square().sum((0, 1)) / (num_images - 1)
    within = (z - by_cell - by_image + mean).square().sum((0, 1)) / ((num_images - 1) * (cells - 1))
    fixed = (cells - 1) / cells
    parts = torch.stack([(between_cells - within) / num_images * fixed, between_images / cells, within * fixed])
    shares = parts / parts.sum(0)
    found = probe.measures[layer]['none']
    expected = 100 * shares.mean(1)
    assert [found[part][0] for part in ('position', 'content', 'interaction')] == pytest.approx(expected.tolist())
    assert expected.min() > 0.1
    torch.testing.assert_close(probe.code(layer), by_cell[0].float())
    torch.testing.assert_close(torch.tensor(probe.ranking(layer).scores).double(), shares[0], atol=1e-6, rtol=1e-5)
    assert ('circular' in probe.measures[layer]) == NETWORKS[name].zero
    if NETWORKS[name].zero:
        assert abs(probe.measures[layer]['circular']['position'][0]) < 1e-7


@pytest.mark.parametrize('name', NETWORKS)
def test_consistency_counts_what_a_plain_loop_counts(name: str) -> None:
    model, _, _ = build(name)
    images, labels = blobs(24, SIDE), torch.arange(24) % CLASSES
    batches = [(images[:20], labels[:20]), (images[20:], labels[20:])]
    card = shift_consistency(model, batches, [4], ['zero_ref', 'roll_pair'])

    def predict(image: Tensor) -> int:
        with torch.no_grad():
            return int(scores_of(model, image[None]).argmax())

    seen = []
    for index, image in enumerate(images):
        spans = (range(-4, 5), range(-4, 5))
        ((down, right),) = draw_shifts('zero_ref', spans, 24)[index].tolist()
        padded = F.pad(image, (4, 4, 4, 4))[:, 4 - down :, 4 - right :]
        rolled = [image.roll(shift, (1, 2)) for shift in draw_shifts('roll_pair', spans, 24)[index].tolist()]
        views = [(image, padded[:, :SIDE, :SIDE]), rolled]
        seen.append([[predict(view) for view in pair] for pair in views])
    first, second = torch.tensor(seen).unbind(-1)
    same, correct = first == second, first == labels[:, None]
    expected = torch.stack([same.sum(0), correct.sum(0), (same & correct).sum(0)], 1)
    assert torch.equal(card.counts, expected)
    assert card.correct == int(correct[:, 0].sum())
    assert 0 < same.sum() < same.numel()


@pytest.mark.parametrize('name', NETWORKS)
def test_augshift_is_eq_1_on_the_networks_own_features(name: str) -> None:
    model, layer, pooled = build(name)
    model.train()
    labels = torch.arange(6) % CLASSES
    views = torch.cat(two_views(blobs(6, SIDE), max_shift=4))
    with record_pooled(model, layer) as record:
        scores = scores_of(model, views)
        features = record.take()
    loss = augshift_loss(scores.chunk(2), features.chunk(2), labels)
    first, second = pooled(views).chunk(2)
    consistency = (first - second).square().mean()
    expected = 2 * F.cross_entropy(scores_of(model, views), labels.repeat(2)) + 10 * consistency
    assert consistency > 1e-4
    torch.testing.assert_close(loss, expected)
    parameters = list(model.parameters())
    gradients, by_hand = (torch.autograd.grad(each, parameters, allow_unused=True) for each in (loss, expected))
    torch.testing.assert_close(gradients, by_hand)
