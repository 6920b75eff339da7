"""probe_location: the exact zero, controls, what it returns, what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import distributed, nn
from torch.nn import functional as F

import mmposenc
from mmposenc.grids import LocationProbe, probe_location
from mmposenc.grids.weights import calibrate_batch_norm


def images(number: int = 8, size: int = 32) -> torch.Tensor:
    """Blobs of colour, so that neighbouring pixels are alike."""
    coarse = torch.randn(number, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=(size, size), mode='bilinear')


class Located(nn.Module):
    """Channels with planted position: 0 answers at the top, 1 anywhere, 2 on the right, 3 on the left; 5 is dead."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.BatchNorm2d(6, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        energy, fall = x.square().sum(1, keepdim=True), torch.linspace(1, 0, x.shape[-1])
        maps = [energy * fall[:, None], energy, energy * (1 - fall), energy * fall.square(), x.sum(1, keepdim=True)]
        return self.last(torch.cat([*maps, 0 * energy], 1))


NETWORKS = {
    'resnet18': (lambda: torchvision.models.resnet18(), ['maxpool', 'layer1', 'layer4']),
    'mobilenet_v2': (lambda: torchvision.models.mobilenet_v2(), ['features.3', 'features.18']),
    'efficientnet': (lambda: timm.create_model('tf_efficientnet_lite0'), ['blocks.3', 'bn2']),
    'vit': (
        lambda: torchvision.models.VisionTransformer(96, 16, 2, 4, 48, 96),
        ['conv_proj', 'encoder.layers.encoder_layer_1'],
    ),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_the_zero_of_the_scale(name: str):
    torch.manual_seed(0)
    build, layers = NETWORKS[name]
    model, data = build().double().eval(), images().double()
    if name == 'vit':
        nn.init.normal_(model.encoder.pos_embedding)
    calibrate_batch_norm(model, lambda: model(F.pad(data, (0, 64, 32, 32))))
    probe = probe_location(model, data, layers, patch_size=32)
    assert not any(probe.left_out.values())
    for layer in layers:
        none, circular = (probe.measures[layer][control] for control in ('none', 'circular'))
        assert abs(circular['position'][0]) < 1e-7  # in %: 1e-9 of the variance
        assert abs(circular['interaction'][0]) < 1e-7
        for readout in ('order', 'sorted', 'sum'):
            assert circular[readout] == pytest.approx((100 / 9, 100 / 9, 100 / 9), abs=1e-12)
        if layer != 'conv_proj':  # patches of the embedding do not see the border
            assert none['position'][0] + none['interaction'][0] > 0.5


def test_where_the_zero_is_not_reached_the_control_is_left_out():
    probe = probe_location(torchvision.models.squeezenet1_1(), images(), ['features.0', 'features.3'], patch_size=32)
    assert list(probe.measures['features.3']) == ['none']
    assert 'not invariant to moves of the image' in probe.left_out['features.3']['circular']


def test_padding_that_cannot_be_replaced_is_left_out():
    body = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)))
    net = nn.Sequential(body, nn.BatchNorm2d(4))
    probe = probe_location(net, images(), ['1'], patch_size=32, controls=['reflect', 'replicate'])
    assert list(probe.measures['1']) == ['none']
    assert set(probe.left_out['1'].values()) == {'the features are those of zero padding: no padding was replaced'}


def test_planted_channels_and_contrasts_are_found():
    probe = probe_location(Located(), images(24, 16), ['last'], patch_size=16, controls=())
    assert (probe.position['last'][1] / probe.variance['last'][1]).abs() < 1e-6
    assert probe.dead == {'last': {'none': 1}}
    assert set(probe.ranking('last').order[:3]) == {0, 2, 3}
    top, left = (probe.ranking('last', contrast) for contrast in ('top_bottom', 'left_right'))
    assert (top.order[0], left.order[0], left.order[-1]) == (0, 3, 2)
    assert (top.region, top.statistic, top.pair, top.num_images) == ('top_bottom', 'position', 'none', 24)
    # The square of the score is what the linear contrast takes of the variance.
    code = probe.code('last').double()
    slope = (code[:3, 0].mean() - code[6:, 0].mean()) / 6**0.5
    assert top.scores[0] == pytest.approx((slope / probe.variance['last'][0].sqrt()).item(), rel=1e-5)


def test_a_ranking_ablates_and_is_of_these_weights():
    model = torchvision.models.mobilenet_v2().eval()
    ranking = probe_location(model, images(), ['features.3'], patch_size=32, controls=()).ranking('features.3')
    ranking.check_model(model)
    with mmposenc.ablate_channels(model, 'features.3', mmposenc.top_channels(ranking, 4)):
        off = model.features[:4](images()).abs().sum((0, 2, 3)) == 0
    assert off.nonzero().flatten().tolist() == sorted(ranking.order[:4])


def test_every_control_in_one_table_and_the_network_comes_back(tmp_path: Path):
    torch.manual_seed(0)
    model, seen = torchvision.models.resnet18(), []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    loader = [(images(5, 100), None), (images(9, 120)[:4], None)]
    controls = ['circular', 'reflect', 'replicate', 'random', 'noise', 'images', 'rolled']
    options = dict(patch_size=32, controls=controls, seeds=(0, 1), progress=lambda *done: seen.append(done))
    probe = probe_location(model, loader, ['layer1', 'bn1'], **options)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert seen[-1] == (9 * 9, 9 * 9)  # 8 passes and one more for the second seed, 9 images one by one
    rows = probe.table()
    assert [row['control'] for row in rows[:8]] == ['none', *controls]
    assert [row['layer'] for row in rows[::8]] == ['bn1', 'layer1']  # in the order in which they run
    assert probe.strides == {'bn1': 2, 'layer1': 4}
    assert 0 < probe.depth['bn1'] < probe.depth['layer1'] < 1
    for row in rows:
        parts = [row[name] for name in ('position', 'content', 'interaction')]
        assert sum(parts) == pytest.approx(100)
        assert row['position_low'] <= row['position'] <= row['position_high']
        assert 0 <= row['order_low'] <= row['order'] <= row['order_high'] <= 100
    by_control = {row['control']: row['position'] for row in rows[8:]}
    assert len({round(value, 3) for value in by_control.values()}) == 8
    probe.save(tmp_path / 'probe.json')
    again = LocationProbe.load(tmp_path / 'probe.json')
    assert again.table() == rows
    assert again.curve_table() == probe.curve_table()
    assert again.ranking('layer1', 'left_right') == probe.ranking('layer1', 'left_right')


def test_the_patch_is_the_same_with_and_without_surroundings():
    data, net = images(size=129), nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    options = dict(patch_size=31, cell_size=32)
    alone, surrounded = (probe_location(net, data, ['0'], controls=each, **options) for each in ((), ['images']))
    assert surrounded.measures['0']['none'] == alone.measures['0']['none']


def test_what_surrounds_the_patch():
    data, seen = images(size=96) + 2, []
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    controls = ['noise', 'images', 'rolled']
    probe_location(net, data, ['0'], controls=controls, patch_size=32, forward=lambda x: seen.append(x) or net(x))
    _, noise, others, rolled = torch.stack(seen[-32:]).unflatten(0, (4, 8))
    patches = data[:, :, 32:64, 32:64]
    for cell in range(9):
        row, column = 32 * (cell // 3), 32 * (cell % 3)
        expected = data[[4, 5, 6, 7, 0, 1, 2, 3]].clone()
        expected[:, :, row : row + 32, column : column + 32] = patches
        assert torch.equal(others[:, cell], expected)
        assert torch.equal(rolled[:, cell], data.roll((row, column), (-2, -1)))
        assert torch.equal(noise[:, cell, :, row : row + 32, column : column + 32], patches)
    around = noise[:, 0, :, 32:]
    assert torch.equal(around[..., :64], noise[:, 2, :, 32:, :64])  # the same for all cells, and new for each image
    assert not torch.equal(around[0], around[1])
    for statistic in (torch.mean, torch.std):
        torch.testing.assert_close(statistic(around, (0, 2, 3)), statistic(patches, (0, 2, 3)), rtol=0.05, atol=0)


def test_the_same_every_time_and_whatever_the_batch():
    model = torchvision.models.mobilenet_v2().double()
    data = images().double()
    first, again = (
        torch.manual_seed(seed)
        and probe_location(model, data, ['features.3'], patch_size=16, controls=['random', 'noise'], seeds=(3,))
        for seed in (0, 1)
    )
    assert first.table() == again.table()
    other = probe_location(model, data, ['features.3'], patch_size=16, controls=['noise'], batch_size=36)
    for control in ('none', 'noise'):
        for measure, values in other.measures['features.3'][control].items():
            assert values == pytest.approx(first.measures['features.3'][control][measure], abs=1e-6)


def probe_small(data: torch.Tensor) -> LocationProbe:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1))
    controls = ['circular', 'random', 'noise']
    return probe_location(model, data, ['1', '3'], patch_size=32, controls=controls, seeds=(0, 1))


def test_two_processes_share_the_canvases(tmp_path: Path):
    torch.multiprocessing.start_processes(_rank, (tmp_path,), 2, start_method='fork')
    probe_small(images(9)).save(tmp_path / 'alone.json')
    for rank in range(2):
        assert (tmp_path / f'{rank}.json').read_text() == (tmp_path / 'alone.json').read_text()


def _rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    probe_small(images(9)).save(folder / f'{rank}.json')
    with pytest.raises(ValueError, match='every process must be given the same images'):
        probe_small(images(9) + rank)
    distributed.destroy_process_group()


def test_layers_of_other_layouts_and_recorded_before_in_place_relus():
    torch.manual_seed(0)
    swin = torchvision.models.swin_t()
    probe = probe_location(swin, images(), ['features.1', 'norm'], patch_size=32, controls=())
    assert probe.channels == {'features.1': 96, 'norm': 768}
    assert probe.strides == {'features.1': 4, 'norm': 32}
    net = torchvision.models.resnet18().eval()
    code = probe_location(net, images(), ['bn1'], patch_size=32, controls=()).code('bn1')
    canvases = torch.zeros(8, 3, 96, 96)
    canvases[:, :, :32, :32] = images()
    with torch.no_grad():
        expected = net.bn1(net.conv1(canvases)).mean((0, 2, 3))
    torch.testing.assert_close(code[0], expected, rtol=1e-4, atol=1e-6)
    assert (code < 0).any()


class Patches(nn.Module):
    """Cuts patches of 8 px out by reshaping, without a convolution; their tokens go through a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Sequential(nn.Linear(192, 6), nn.LayerNorm(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tokens(F.unfold(x, 8, stride=8).transpose(1, 2))


def test_tokens_tell_the_stride_of_their_patches_and_a_global_pool_has_none():
    probe = probe_location(Patches(), images(), ['tokens'], patch_size=32, controls=())
    assert probe.strides == {'tokens': 8}
    with pytest.raises(ValueError, match='cell_size must be a multiple of 8 px'):
        probe_location(Patches(), images(), ['tokens'], patch_size=32, cell_size=4, controls=())
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    probe = probe_location(net, images(), ['0', '1', '2'], patch_size=32, controls=())
    assert probe.strides == {'0': 2, '1': 2, '2': 2}
    torch.testing.assert_close(probe.code('1'), probe.code('0'))


def test_a_pooling_behind_merged_patches_has_their_stride():
    swin = timm.create_model('swin_tiny_patch4_window7_224', img_size=96, window_size=3, depths=(1, 1, 1, 1))
    probe = probe_location(swin, images(), ['norm', 'head.global_pool'], patch_size=32, controls=())
    assert probe.strides == {'norm': 32, 'head.global_pool': 32}


def test_only_what_comes_before_the_layers_has_to_accept_canvases():
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    net = nn.Sequential(body, nn.Flatten(), nn.Linear(4 * 32 * 32, 2))  # for images of 32 px
    options = dict(patch_size=32, controls=['circular', 'random'], seeds=(0,))
    whole, alone = (probe_location(each, images(), [layer], **options) for each, layer in ((net, '0'), (body, '2')))
    assert whole.measures['0'] == alone.measures['2']
    assert whole.depth == {'0': 3 / 4}  # the linear layer fails
    with pytest.raises(RuntimeError, match='mat1 and mat2'):
        probe_location(net, images(), ['2'], **options)


def test_moves_of_less_than_the_patch():
    torch.manual_seed(0)
    model, data = torchvision.models.mobilenet_v2().double().eval(), images().double()
    calibrate_batch_norm(model, lambda: model(F.pad(data, (0, 16, 8, 8))))
    probe = probe_location(model, data, ['features.3'], patch_size=32, cell_size=8)
    none, circular = (probe.measures['features.3'][control] for control in ('none', 'circular'))
    assert abs(circular['position'][0]) < 1e-7 < none['position'][0]
    seen = []
    model.features[3].register_forward_hook(lambda module, args, output: seen.append(output.mean((0, 2, 3))))
    model(F.pad(data, (0, 16, 8, 8)))
    torch.testing.assert_close(probe.code('features.3')[3].double(), seen[0], rtol=1e-5, atol=1e-6)


MOBILENET = torchvision.models.mobilenet_v2()


@pytest.mark.parametrize('arguments, message', [
    (dict(patch_size=40), r"cell_size must be a multiple of 16 px, the total stride up to layer 'features.10'.*48"),
    (dict(patch_size=64), 'images must be at least 64x64 px .the patch., got 32x32'),
    (dict(controls=['rolled']), 'images must be at least 96x96 px .the canvas of images and rolled., got 32x32'),
    (dict(images=images(7)), 'at least 8 images, got 7'),
    (dict(images=(images() * 255).byte()), 'floating point'),
    (dict(images=images() * torch.nan), "layer 'features.10' gives features that are not finite"),
    (dict(layers='features.10'), 'layers must be a list of different layers'),
    (dict(controls=['zeros']), r"controls must be a list out of circular, .*, got \['zeros'\]"),
    (dict(grid_size=1), 'grid_size must be at least 2'),
    (dict(patch_size=0), 'patch_size and cell_size must be at least 1 px, got 0 and 0'),
    (dict(train_images=(7,)), 'train_images must be from 4 to 6'),
    (dict(seeds=(), controls=['random']), 'seeds must name'),
])  # fmt: skip
def test_bad_input(arguments: dict, message: str):
    given = dict(images=images(size=40 if arguments.get('patch_size') == 40 else 32), layers=['features.10'])
    with pytest.raises(ValueError, match=message):
        probe_location(MOBILENET, **{**given, 'patch_size': 32, 'controls': (), **arguments})


def test_a_layer_or_contrast_that_was_not_probed():
    probe = probe_location(MOBILENET, images(), ['features.3'], 2, patch_size=32, controls=())
    assert probe.table()[0]['variance'] == pytest.approx(float(probe.variance['features.3'].mean()))
    assert replace(probe, variance={}).table()[0]['variance'] is None  # published without
    for call, message in (
        (lambda: probe.ranking('features.4'), 'layer must be one of features.3'),
        (lambda: probe.ranking('features.3', 'rest'), 'contrast must be one of top_bottom'),
        (lambda: probe.ranking('features.3', 'vertical_even'), 'no vertical_even: give at least 3'),
    ):
        with pytest.raises(ValueError, match=message):
            call()
