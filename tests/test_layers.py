"""Layers are found, their layouts are established and never guessed, and their pooled features are right."""

import re
from collections import namedtuple
from functools import partial

import pytest
import timm
import torch
import torchvision
from planted import lit_columns
from torch import Tensor, nn

from mmposenc.layers import (
    Layout,
    UnknownLayoutError,
    check_layer,
    eager_forwards,
    find_module,
    global_average_pool,
    pooled_features,
    record_pooled,
    replace_output,
    select_output,
    split_layer,
    unwrap_model,
)


def test_modules_are_found_by_each_of_their_names_and_behind_wrappers(planted):
    assert [split_layer(layer) for layer in ('a.b.0', 'b[-1]')] == [('a.b.0', None), ('b', -1)]
    maps = planted.body.other = planted.body.maps
    assert find_module(planted, 'body[-1]') is planted.body
    assert find_module(planted, 'body.maps') is find_module(planted, 'body.other') is maps
    ddp = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(ddp)
    ddp.module = planted
    compiled = torch.compile(ddp, backend='eager')
    assert unwrap_model(compiled) is planted
    planted.body = torch.compile(planted.body, backend='eager')
    assert find_module(compiled, 'body.maps') is maps


VECTOR = torch.zeros(1, 2)


@pytest.mark.parametrize('output, layer, message', [
    ((VECTOR, VECTOR), 'b', r"a tuple of 2, one .* write 'b\[-1\]' for the last or 'b\[i\]' with i from -2 to 1;"),
    ((VECTOR,), 'b[1]', 'with i from -1 to 0'),
    ((VECTOR,), 'b[-2]', 'with i from -1 to 0'),
    ((), 'b', 'gives a tuple of 0'),
    (VECTOR, 'b[1]', r"gives a Tensor of 1, .* with i from -1 to 0; 'b\.i' is a child module"),
    ({'out': VECTOR}, 'b', 'must give a tensor .* or a tuple of tensors, got dict'),
    (torch.zeros(7), 'b', r'must give a tensor \(N, C\), \(N, C, H, W\), .* got shape \(7,\)'),
    (VECTOR, 'a[x]', 'must be a dotted module path'),
    (VECTOR, 'a b', 'must be a dotted module path'),
    (VECTOR, 3, r'must be a dotted module path .*, got 3'),
])  # fmt: skip
def test_what_is_no_layer(output, layer, message):
    with pytest.raises((TypeError, ValueError), match=message):
        select_output(output, layer)


def test_a_layer_that_does_not_exist(planted):
    for layer, message in (
        ('body.map', r"'body.map' does not exist.*is 'body' \(PlantedBody\), whose .* are: maps$"),
        ('backbone.layer4', r'the model itself \(PlantedNet\), whose children are: body, neck, head, idle$'),
        ('body.maps.x', r"'body.maps' \(CoordinateMaps\), whose children are: \(none\)$"),
    ):
        with pytest.raises(ValueError, match=message):
            find_module(planted, layer)


def test_replace_output_keeps_the_kind_of_output_and_the_other_tensors():
    low, high, new = torch.zeros(1, 2), torch.ones(1, 2), torch.full((1, 2), 7.0)
    assert replace_output(low, 'b', new) is replace_output(low, 'b[-1]', new) is new
    assert select_output(low, 'b[-1]') is low
    given = [low, high]
    replaced = replace_output(given, 'b[0]', new)
    assert isinstance(replaced, list)
    assert replaced[0] is new
    assert replaced[1] is high
    assert given[0] is low
    assert replace_output(namedtuple('stages', 'low high')(low, high), 'b[1]', new)._fields == ('low', 'high')


def test_pooling_by_hand_in_every_layout():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    tokens = maps.flatten(2).transpose(1, 2)
    for features, layout in (
        (maps, Layout()),
        (maps.permute(0, 2, 3, 1), Layout(-1)),
        (tokens, Layout(2)),
        (torch.cat([tokens[:, :2] + 9, tokens], 1), Layout(-1, 2)),
    ):
        assert layout.pool(features).tolist() == [[3.0, 1.0]]
    assert Layout(1, 2).pool(maps.flatten(2)).tolist() == [[4.5, 2.0]]
    half = global_average_pool(torch.full((1, 1, 300, 300), 3.0, dtype=torch.float16))
    assert (half.dtype, half.item()) == (torch.float32, 3.0)


def test_pooled_features_by_hand_at_every_name_of_the_same_place_and_no_further(planted):
    # x of the five columns is 0, 1/4, 1/2, 3/4, 1; y of the only row is 0.
    planted.head.register_forward_hook(lambda *args: pytest.fail('the forward went past the layer'))
    for layer in ('body.maps', 'body[-1]', 'body[1]', 'neck'):
        pooled = pooled_features(planted, layer, lit_columns(0, 3).requires_grad_())
        assert pooled.tolist() == [[0.0, 1.0, 0.5, 0.0, 1.0], [0.75, 0.25, 0.25, 0.0, 1.0]]
        assert not pooled.requires_grad
    flipped = pooled_features(planted, 'neck', lit_columns(0), forward=lambda images: planted(images.flip(-1)))
    assert flipped.tolist() == [[1.0, 0.0, 0.5, 0.0, 1.0]]


def test_what_is_written_over_the_recorded_tensor_does_no_harm():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)).eval()
    vector = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(inplace=True)).eval()
    images = torch.randn(2, 3, 4, 4)
    for model in (net, vector):
        with record_pooled(model, '1') as record:
            model(images)
        assert torch.equal(record.take(), pooled_features(model, '1', images))
        assert pooled_features(model, '1', images).min() < 0


def test_a_record_is_taken_once_and_leaves_the_output_alone(planted):
    expected = planted(lit_columns(2))
    with record_pooled(planted, 'neck') as record:
        assert torch.equal(planted(lit_columns(2)), expected)
        assert record.take().tolist() == [[0.5, 0.5, 0.0, 0.0, 1.0]]
        with pytest.raises(ValueError, match="'neck' must run once per forward, but ran 0 times: name a layer"):
            record.take()
        planted(lit_columns(1))
        planted(lit_columns(2))
        with pytest.raises(ValueError, match=r'ran 2 times: name a layer .* without sliding windows'):
            record.take()


def test_no_hook_stays_behind(planted):
    planted.head.register_forward_hook(lambda *args: None)
    with pytest.raises(ValueError, match='gives a tuple'):
        pooled_features(planted, 'body', lit_columns(0))
    with pytest.raises(RuntimeError, match='inside'), record_pooled(planted, 'neck'):
        raise RuntimeError('inside')
    with pytest.raises(AttributeError, match='shape'):
        pooled_features(planted, 'neck', None)
    with pytest.raises(UnknownLayoutError), record_pooled(planted, 'body[-1]'):
        planted(lit_columns(0))
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in planted.modules()) == 1


class Twice(nn.Module):
    """Its layer runs twice in a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.spare = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(self.conv(images))


def test_layers_without_one_fixed_answer_are_refused():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 4, 4)
    for layer, message in (('conv', 'once per forward, but ran 2 times'), ('spare', 'but ran 0 times: name a layer')):
        with pytest.raises(ValueError, match=message):
            check_layer(Twice().eval(), layer, image)
    shuffling = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)).eval()
    shuffling[1].register_forward_hook(lambda module, args, output: output[:, torch.randperm(8)])
    with pytest.raises(ValueError, match="'1' gives other features in a second forward"):
        check_layer(shuffling, '1', image)
    check_layer(shuffling, '0', image)
    noisy = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Identity()).eval()
    noisy[1].running_mean.fill_(100)  # A mean that hides the noise, but not what compares two images.
    noisy[0].register_forward_hook(lambda module, args, output: nn.functional.dropout(output))
    with pytest.raises(ValueError, match="'1' gives other features in a second forward"):
        check_layer(noisy, '1', image)


def tiny_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(48, 16, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)


def transformers_vit() -> nn.Module:
    transformers = pytest.importorskip('transformers', reason='mmpretrain 1.2.0 cannot be imported beside it')
    sizes = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8)
    return transformers.ViTForImageClassification(config)


def transformers_segformer() -> nn.Module:
    transformers = pytest.importorskip('transformers', reason='mmpretrain 1.2.0 cannot be imported beside it')
    sizes = dict(depths=[1, 1], hidden_sizes=[8, 16], num_attention_heads=[1, 2], mlp_ratios=[2, 2], sr_ratios=[2, 1])
    config = transformers.SegformerConfig(num_encoder_blocks=2, patch_sizes=[7, 3], strides=[4, 2], **sizes)
    return transformers.SegformerForImageClassification(config)


DEIT = 'deit_tiny_distilled_patch16_224'
DINOV2 = 'vit_small_patch14_reg4_dinov2'
RESNET = {'layer4': (2048, 1, 0), 'layer3.0': (1024, 1, 0), 'layer4.2.bn3': (2048, 1, 0), 'avgpool': (2048, 1, 0)}
CONVNEXT = {'features': (768, 1, 0), 'features.7.1.block.2': (768, 3, 0), 'features.7.1.block.3': (3072, 3, 0)}
BLOCK = 'encoder.layers.encoder_layer_1'
VIT = {'encoder.ln': (32, 2, 1), BLOCK: (32, 2, 1), f'{BLOCK}.mlp.0': (64, 2, 1), 'conv_proj': (32, 1, 0)}
SWIN = {'norm': (768, 3, 0), 'features.1.0': (96, 3, 0), 'permute': (768, 1, 0), 'features.2': (192, 3, 0)}
MAXVIT = partial(torchvision.models.MaxVit, (64, 64), 8, 2, [8, 16], [1, 1], head_dim=4, stochastic_depth_prob=0.0)
MAXVIT_LAYERS = {'blocks.1': (16, 1, 0), 'blocks.1.layers.0.layers.window_attention': (16, 1, 0)}
DINO = {'norm': (384, 2, 5), 'blocks.1': (384, 2, 5), 'blocks.1.mlp.fc1': (1536, 2, 5), 'patch_embed': (384, 2, 0)}
TIMM_SWIN = {'norm': (768, 3, 0), 'layers.3': (768, 3, 0), 'layers.0.blocks.0': (96, 3, 0)}
MIXER = {'norm': (512, 2, 0), 'blocks.1': (512, 2, 0), 'blocks.1.mlp_channels': (512, 2, 0)}
SEGFORMER = {'segformer.stages.1': (16, 1, 0), 'segformer.stages.1.blocks.0': (16, 2, 0)}
FAMILIES = {
    # Network, image size, then by layer: C, dimension of the channels, prefix tokens.
    'resnet50': (torchvision.models.resnet50, 64, RESNET),
    'densenet121': (torchvision.models.densenet121, 64, {'features.denseblock4': (1024, 1, 0)}),
    'convnext_tiny': (torchvision.models.convnext_tiny, 64, CONVNEXT),
    'vit_b_16': (tiny_vit, 48, VIT),
    'swin_t': (torchvision.models.swin_t, 64, SWIN),
    'maxvit_t': (MAXVIT, 64, MAXVIT_LAYERS),
    'timm DINOv2': (partial(timm.create_model, DINOV2, img_size=56, depth=2), 56, DINO),
    'timm DeiT': (partial(timm.create_model, DEIT, img_size=64, depth=2), 64, {'norm': (192, 2, 2)}),
    'timm Swin': (partial(timm.create_model, 'swin_tiny_patch4_window7_224', img_size=64), 64, TIMM_SWIN),
    'timm Mixer': (partial(timm.create_model, 'mixer_s32_224', img_size=64), 64, MIXER),
    'timm ConvNeXt': (partial(timm.create_model, 'convnext_atto'), 64, {'head.norm': (320, 1, 0)}),
    'transformers ViT': (transformers_vit, 32, {'vit.layernorm': (24, 2, 1), 'vit.layers.1': (24, 2, 1)}),
    'transformers SegFormer': (transformers_segformer, 64, SEGFORMER),
}


@pytest.mark.parametrize('family', FAMILIES)
def test_layouts_of_families(family):
    make, size, layers = FAMILIES[family]
    torch.manual_seed(0)
    model = make().eval()
    images = torch.rand(2, 3, size, size)
    for layer, (channels, dim, prefix) in layers.items():
        outputs = []
        handle = find_module(model, layer).register_forward_hook(lambda *args, seen=outputs: seen.append(args[2]))
        pooled = pooled_features(model, layer, images)
        handle.remove()
        features = select_output(outputs[-1], layer)
        assert pooled.shape == (2, channels), layer
        expected = features.movedim(dim, 1).flatten(2)[..., prefix:].mean(-1)
        torch.testing.assert_close(pooled, expected, msg=layer)


# As many tokens as channels.
SQUARE = partial(timm.models.mlp_mixer.MlpMixer, img_size=32, patch_size=8, embed_dim=16, num_blocks=1)


@pytest.mark.parametrize('make, size, layer, shape', [
    (FAMILIES['timm Mixer'][0], 64, 'blocks.1.mlp_tokens', (2, 512, 4)),
    (FAMILIES['timm Mixer'][0], 64, 'blocks.1.mlp_tokens.fc1', (2, 512, 256)),
    (FAMILIES['timm Swin'][0], 64, 'layers.0.blocks.0.attn', (18, 49, 96)),
    (SQUARE, 32, 'blocks.0.mlp_tokens', (2, 16, 16)),
    (lambda: nn.Sequential(nn.Flatten(2)), 8, '0', None),
])  # fmt: skip
def test_what_is_not_established_is_an_error_that_asks_for_it(make, size, layer, shape):
    model = make().eval()
    images = torch.rand(2, 3, size, size)
    # Where images of another size pass, the dimensions that change are space; in a plain block there is no other image.
    with pytest.raises(UnknownLayoutError, match='pass channel_dim='), record_pooled(model, layer):
        model(images)
    if shape:
        with pytest.raises(UnknownLayoutError, match=rf'gives {re.escape(str(shape))}, .* pass channel_dim='):
            pooled_features(model, layer, images)


class Residual(nn.Module):
    """Gives (N, 8, 8, 8) for images of 8 px, in either layout."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.stem, self.conv, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), last

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        features = features + self.conv(features)
        return features.permute(0, 2, 3, 1) if self.last else features


@pytest.mark.parametrize('last', [False, True])
def test_a_forward_at_another_image_size_tells_channels_from_space(last):
    torch.manual_seed(0)
    model, images = nn.Sequential(Residual(last)).eval(), torch.rand(2, 3, 8, 8)
    with pytest.raises(UnknownLayoutError), record_pooled(model, '0'):
        model(images)
    pooled = pooled_features(model, '0', images)
    torch.testing.assert_close(pooled, model(images).mean((1, 2) if last else (2, 3)))
    for prefix_tokens in (None, 0):  # it is known from now on
        with record_pooled(model, '0', prefix_tokens=prefix_tokens) as record:
            model(images)
        assert torch.equal(record.take(), pooled)


def test_channel_dim_and_prefix_tokens_that_are_given():
    model, images = FAMILIES['timm Mixer'][0]().eval(), torch.rand(2, 3, 64, 64)
    assert pooled_features(model, 'blocks.1.mlp_tokens', images, channel_dim=1).shape == (2, 512)
    assert pooled_features(model, 'blocks.1.mlp_tokens', images, channel_dim=-1).shape == (2, 4)
    vit, images = tiny_vit().eval(), torch.rand(2, 3, 48, 48)
    with record_pooled(vit, 'encoder.ln', prefix_tokens=0) as record:
        vit(images)
    pooled = pooled_features(vit, 'encoder.ln', images)
    vit.heads = nn.Identity()
    torch.testing.assert_close(record.take() * 10, pooled * 9 + vit(images))
    for layer, options, message in (
        ('encoder.ln', dict(channel_dim=0), 'channel_dim must not be 0'),
        ('encoder.ln', dict(channel_dim=3), r'gives \(2, 10, 32\), which has no dimension 3 \(channel_dim'),
        ('encoder.ln', dict(prefix_tokens=10), r'prefix_tokens of \(2, 10, 32\) must be from 0 to 9, got 10'),
        ('conv_proj', dict(prefix_tokens=1), r'prefix_tokens of \(2, 32, 3, 3\) must be from 0 to 0, got 1'),
    ):
        with pytest.raises(ValueError, match=message):
            pooled_features(vit, layer, images, **options)


class ClassToken(nn.Module):
    """Four patches behind a class token, a parameter (8,) as CLIP's, of any name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.conv, self.norm, self.name = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), name
        self.register_parameter(name, nn.Parameter(torch.randn(8)))

    def forward(self, images: Tensor) -> Tensor:
        token = getattr(self, self.name).expand(len(images), 1, 8)
        return self.norm(torch.cat([token, self.conv(images).flatten(2).transpose(1, 2)], 1))


@pytest.mark.parametrize('name', ['class_embedding', 'cls_token', 'query'])
def test_a_class_token_is_known_by_name_or_asked_for(name):
    model, images = ClassToken(name), torch.rand(2, 3, 8, 8)
    options = dict(prefix_tokens=1) if name == 'query' else {}
    torch.testing.assert_close(pooled_features(model, 'norm', images, **options), model(images)[:, 1:].mean(1).detach())
    if options:
        with pytest.raises(UnknownLayoutError, match=r'gives 5 tokens, .* pass prefix_tokens=, e\.g\. prefix_tokens=1'):
            pooled_features(model, 'norm', images)


def test_tokens_that_fit_no_grid_of_patches_and_a_layer_inside_windows():
    vit = timm.create_model('vit_tiny_patch16_224', img_size=64, depth=1).eval()
    vit.norm_pre.register_forward_hook(lambda module, args, output: output[:, :7])
    with pytest.raises(UnknownLayoutError, match=r'gives 7 tokens, .* pass prefix_tokens=, e\.g\. prefix_tokens=1'):
        pooled_features(vit, 'norm', torch.rand(1, 3, 64, 64))
    swin = FAMILIES['timm Swin'][0]().eval()
    with pytest.raises(ValueError, match='gives 18 rows for 2 images, as inside windows'):
        pooled_features(swin, 'layers.0.blocks.0.attn', torch.rand(2, 3, 64, 64), channel_dim=-1)


def test_hooks_of_a_module_that_was_compiled_fire_in_blocks_that_overlap():
    compiled = []
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    network.compile(backend=lambda graph, _: lambda *inputs: compiled.append(1) or graph(*inputs))
    network(torch.ones(1, 2))
    first, second = eager_forwards(), eager_forwards()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    calls = []
    handle = network[0].register_forward_hook(lambda *_: calls.append(1))
    network(torch.ones(1, 2))
    assert calls == [1]  # the second block still runs
    second.__exit__(None, None, None)
    handle.remove()
    before = len(compiled)
    network(torch.ones(1, 2))
    assert len(compiled) == before + 1
    assert pooled_features(network, '0', torch.ones(1, 2)).shape == (1, 2)
