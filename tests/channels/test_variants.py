"""Forwards of variants that share what comes before the layer, against plain forwards with the channels ablated."""

from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from mmposenc.channels import ablate_channels
from mmposenc.channels.sweep_plan import SweepOrder
from mmposenc.channels.variants import VariantForwards

SLICES = ((0, 1), (0, 3), (0, 6), (2, 5))
ORDER = SweepOrder('layer', tuple(range(6)), SLICES, (0, 1, 2, 3))


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def run(variants: VariantForwards, orders: Sequence[SweepOrder], images: Tensor) -> dict[int, Tensor]:
    return dict(variants.run(orders, lambda copies: variants.model(images.repeat(copies, 1, 1, 1))))


def outputs_of(
    model: nn.Module, layer: str, images: Tensor, channels: int, **options: Any
) -> tuple[VariantForwards, list[str]]:
    """Compare every run of two orders on two batches with plain forwards."""
    model = model.eval()
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    orders = []
    for seed in (0, 1):
        order = torch.randperm(channels, generator=torch.Generator().manual_seed(seed)).tolist()
        slices = tuple((a * channels // 6, b * channels // 6) for a, b in SLICES)
        orders.append(SweepOrder(layer, tuple(order), slices, tuple(range(4 * seed, 4 * seed + 4))))
    said: list[str] = []
    variants = VariantForwards(model, layer, channels, say=said.append, **options)
    for shown in (images, images + 1):
        found = run(variants, orders, shown)
        assert sorted(found) == list(range(8))
        base, different = model(shown), 0
        for number, chosen in (ablation for order in orders for ablation in order.ablations()):
            dim = options.get('channel_dim')
            with ablate_channels(model, layer, chosen, channel_dim=dim, allow_repeats=True):
                expected = model(shown)
            different += not torch.equal(expected, base)
            assert float((found[number] - expected).abs().max()) <= 1e-4 * float(base.abs().max())
        assert different > 4, 'the variants differ'
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks
    assert not any('forward' in vars(module) for module in model.modules())
    return variants, said


def spread(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.2)
    return model


def vit() -> nn.Module:
    return models.VisionTransformer(16, 4, 4, 2, 12, 24, num_classes=5)


def swin() -> nn.Module:
    return models.SwinTransformer([2, 2], 12, [2, 2], [2, 2], [2, 2], num_classes=5)


def resnet() -> nn.Module:
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)


@pytest.mark.parametrize('build, layer, channels, prefix, stacked', [
    (resnet, 'layer3', 256, True, True),
    (resnet, 'layer3.0.bn1', 256, True, True),
    (resnet, 'layer4', 512, False, False),
    (resnet, 'avgpool', 512, False, False),
    (vit, 'encoder.layers.encoder_layer_2', 12, True, True),
    (vit, 'encoder.layers.encoder_layer_0', 12, True, True),
    (swin, 'features.1', 12, True, True),
    (swin, 'features.3.0', 24, True, True),
])  # fmt: skip
def test_networks_of_torchvision(
    build: Callable[[], nn.Module], layer: str, channels: int, prefix: bool, stacked: bool
) -> None:
    variants, said = outputs_of(spread(build()), layer, torch.randn(2, 3, 16, 16), channels)
    assert variants.shares == ('the prefix' if prefix else 'all but the classifier'), said
    assert (variants.copies > 1) == stacked, said


class Net(nn.Module):
    """A stem that runs twice, a layer, a way around it, and what writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 1)
        self.layer = nn.Conv2d(6, 6, 1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(6, 4, 1)
        self.runs = 0

    def forward(self, images: Tensor) -> Tensor:
        self.runs += 1
        first, second = self.stem(images), self.stem(images.flip(-1))
        features = self.relu(first).mul_(2) + second
        return self.head(self.relu(self.layer(features).mul_(2)) + features).mul_(3).mean((2, 3))


@pytest.mark.parametrize('stack', [True, False])
def test_a_module_that_runs_twice_gives_each_output_in_its_turn(stack: bool) -> None:
    variants, _ = outputs_of(Net(), 'layer', torch.randn(2, 3, 4, 5), 6, stack=stack)
    assert (variants.shares, variants.copies > 1) == ('the prefix', stack)
    # The stem in a second batch, without the plain forwards of the comparison.
    model, real = Net().eval(), []
    convolve = model.stem._conv_forward
    model.stem._conv_forward = lambda *args: real.append(1) or convolve(*args)
    model.layer.forward = own = model.layer.forward  # As a tool may have patched it.
    variants = VariantForwards(model, 'layer', 6, stack=False)
    for _ in range(2):
        real.clear()
        run(variants, [ORDER], torch.ones(1, 3, 2, 2))
    assert len(real) == 2, 'both calls of the stem ran once for four variants'
    assert vars(model.layer)['forward'] is own


def test_a_layer_that_runs_twice_is_refused_or_runs_as_it_is() -> None:
    with pytest.raises(ValueError, match="layer 'stem' must run once per forward, but ran 2 times"):
        outputs_of(Net(), 'stem', torch.randn(2, 3, 4, 5), 6)
    variants, said = outputs_of(Net(), 'stem', torch.randn(2, 3, 4, 5), 6, allow_repeats=True)
    assert variants.shares == 'nothing'
    assert 'runs 2 times per forward' in said[0]


class Mixing(nn.Module):
    """Takes the mean over the batch away; the channels 1 and 2 of its layer are dead."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 6, 1), nn.Linear(6, 4)
        self.layer.bias.data[1:3] = -100

    def forward(self, images: Tensor) -> Tensor:
        features = self.layer(images).relu().mean((2, 3))
        return self.head(features - features.mean(0))


def test_a_network_that_mixes_images_is_seen_though_the_first_channels_are_dead() -> None:
    model, images = Mixing().eval(), torch.randn(3, 3, 4, 4)
    variants = VariantForwards(model, 'layer', 6)
    found = run(variants, [ORDER], images)
    for number, chosen in ORDER.ablations():
        with ablate_channels(model, 'layer', chosen):
            torch.testing.assert_close(found[number], model(images))
    assert variants.copies == 1


def test_foreign_hooks_act_on_what_is_replayed() -> None:
    model = Net()
    model.layer.register_forward_hook(lambda module, args, output: output * 2)
    model.stem.register_forward_hook(lambda module, args, output: output + 1)
    variants, _ = outputs_of(model, 'layer', torch.randn(2, 3, 4, 5), 6)
    assert variants.shares == 'the prefix'


Pair = namedtuple('Pair', 'a b')


class Containers(nn.Module):
    """Gives its tensors in a tuple, a dict and a named tuple."""

    def forward(self, images: Tensor) -> Any:
        return (images * 2, {'x': images + 1}, Pair(images.mean((2, 3)), 'text'))


class Unusual(nn.Module):
    """Functional use of the outputs of modules, positions without a batch, tokens first in the batch's place."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.containers, self.positions, self.layer = Containers(), nn.Embedding(20, 6), nn.Linear(6, 6)
        self.tokens, self.head, self.transposed = nn.Linear(3, 6), nn.Linear(6, 4), transposed

    def forward(self, images: Tensor) -> Tensor:
        doubled, named, pair = self.containers(images)
        doubled.add_(named['x'])
        tokens = self.tokens((doubled + pair.a[:, :, None, None]).flatten(2).transpose(1, 2))
        tokens = tokens + self.positions(torch.arange(tokens.shape[1]))
        if self.transposed:
            tokens = nn.Identity()(self.tokens(images.flatten(2).permute(2, 0, 1))) + tokens.transpose(0, 1)
            tokens = tokens.transpose(0, 1)
        return self.head(functional.relu(self.layer(tokens)).mean(1))


@pytest.mark.parametrize('transposed', [False, True])
def test_containers_functions_and_what_has_no_batch(transposed: bool) -> None:
    images = torch.randn(3, 3, 4, 5)
    variants, said = outputs_of(Unusual(transposed), 'layer', images, 6, channel_dim=-1)
    assert variants.shares == 'the prefix', said
    # Three images: a tensor of 20 tokens in the place of the batch cannot be stacked, and is not.
    assert (variants.copies > 1) != transposed


def test_what_changes_from_forward_to_forward_is_given_up() -> None:
    class Counting(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * self.runs  # Every forward is another one.

    variants = VariantForwards(Counting().eval(), 'layer', 6, say=(said := []).append)
    run(variants, [ORDER], torch.ones(2, 3, 2, 2))
    assert variants.shares == 'nothing'
    assert 'changes the scores' in said[0]


def test_memory_limits_the_copies() -> None:
    model, images = spread(resnet()), torch.randn(2, 3, 16, 16)
    large, _ = outputs_of(model, 'layer3', images, 256)
    small, _ = outputs_of(model, 'layer3', images, 256, memory=0.2)
    none, said = outputs_of(model, 'layer3', images, 256, memory=1e-6)
    assert large.copies > small.copies > none.copies == 1
    assert 'at once' not in said[0]


@pytest.mark.parametrize('bias', [False, True])
def test_scores_tie_where_no_features_are_left(bias: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 9, bias))
    nn.init.constant_(model[0].bias, -1.2)  # Many images have few channels that are not zero.
    if bias:
        nn.init.zeros_(model[4].bias)
    images = torch.randn(50, 3, 6, 6)
    slices = ((0, 8), (0, 28), (0, 32), (8, 16))
    orders = [SweepOrder('1', tuple(torch.randperm(32).tolist()), slices, (1, 2, 3, 4)) for _ in range(5)]
    for order in orders:
        variants = VariantForwards(model.eval(), '1', 32)
        found = run(variants, [order], images)
        for number, chosen in order.ablations():
            with ablate_channels(model, '1', chosen):
                assert torch.equal(found[number].argmax(1), model(images).argmax(1))
        assert variants.shares == 'all but the classifier'


def test_matrix_products_add_up_no_errors_of_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    close = torch.allclose
    monkeypatch.setattr('mmposenc.channels.variants._close', lambda one, other: close(one.float(), other.float(), 0.02))
    model = nn.Sequential(nn.Conv2d(3, 256, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 9))
    model, images = model.eval().half(), torch.randn(8, 3, 6, 6).half()
    sizes = tuple(range(4, 256, 4))
    order = SweepOrder('1', tuple(range(256)), tuple((0, size) for size in sizes), tuple(range(len(sizes))))
    variants = VariantForwards(model, '1', 256)
    found = run(variants, [order], images)
    assert variants.shares == 'all but the classifier'
    exact = model.double()
    for number, chosen in order.ablations():
        with ablate_channels(exact, '1', chosen):
            torch.testing.assert_close(found[number].double(), exact(images.double()), rtol=0, atol=1e-3)


def test_half_precision() -> None:
    model, images = spread(resnet()).eval(), torch.randn(2, 3, 16, 16)
    order = SweepOrder('layer3', tuple(range(256)), ((0, 100),), (1,))
    variants = VariantForwards(model, 'layer3', 256)
    with torch.autocast('cpu', torch.bfloat16):
        found = run(variants, [order], images)[1]
        with ablate_channels(model, 'layer3', range(100)):
            expected = model(images)
    assert variants.shares == 'the prefix'
    assert float((found - expected).abs().max()) <= 0.05 * float(expected.abs().max())


class Branching(Net):
    """Takes another way, by its images or by its features, where the first is above zero."""

    def __init__(self, by: str) -> None:
        super().__init__()
        self.by = by
        self.layer.bias = None

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        if self.by == 'images' and images.mean() > 0:
            features = features + self.stem(images)
        scores = self.head(self.layer(features)).mean((2, 3))
        return scores * 2 if self.by == 'features' and features.mean() > 0 else scores


class Capped(nn.Module):
    """Caps its pooled features, which shows in bright images only."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 6, 1), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layer(images).mean((2, 3)).clamp(max=2))


@pytest.mark.parametrize('build, refused', [
    (lambda: Branching('images'), False), (lambda: Branching('features'), True), (Capped, True),
])  # fmt: skip
def test_another_way_through_the_network_is_followed_or_refused(build: Callable[[], nn.Module], refused: bool) -> None:
    model = build().eval()
    if isinstance(model, Branching):
        nn.init.uniform_(model.stem.weight, 0, 1)
    variants = VariantForwards(model, 'layer', 6, say=(said := []).append)
    for images in (-torch.ones(2, 3, 2, 2), 100 * torch.ones(2, 3, 2, 2)):
        with ablate_channels(model, 'layer', range(3)):
            expected = model(images)
        if refused and images.mean() > 0:
            with pytest.raises(ValueError, match='different path through its modules on this batch than on the first'):
                run(variants, [ORDER], images)
        else:
            torch.testing.assert_close(run(variants, [ORDER], images)[1], expected)
    assert variants.shares != 'nothing', said
