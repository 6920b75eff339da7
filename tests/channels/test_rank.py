"""Running sums by hand, and rankings of networks whose right ranking is known by hand."""

from pathlib import Path

import pytest
import torch
from planted import Replicas, lit_columns
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler

from mmposenc.channels import PairedSums, ablate_channels, collect_sums, rank_channels, top_channels
from mmposenc.ranking import model_fingerprint

X, FROM_RIGHT, EVEN, Y, CONSTANT = range(5)

FIRST = torch.tensor([[1.0, 4.0, 0.0], [3.0, 0.0, 0.0]])
SECOND = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])


def summed(*pairs):
    sums = PairedSums(pairs[0][0].shape[1])
    for first, second in pairs:
        sums.update(first, second)
    return sums


@pytest.mark.parametrize('statistic, expected', [
    ('abs', [2.0, 3.0, 0.0]),  # (1 + 3) / 2, (4 + 2) / 2
    ('centred', [0.75, -1.0, 0.0]),  # less the reference
    ('signed', [1.0, 1.0, 0.0]),  # (-1 + 3) / 2, (4 - 2) / 2
    ('relative', [2 / 1.5, 3 / 1.5, 0.0]),  # over (1.5 + 1.5) / 2, (2 + 1) / 2
    ('mean_activation', [2.0, 2.0, 0.0]),
])  # fmt: skip
def test_scores_of_sums_by_hand(statistic, expected):
    reference = [0.25, 2.0, 0.0] if statistic == 'centred' else None
    assert summed((FIRST, SECOND)).scores(statistic, reference).tolist() == pytest.approx(expected, abs=1e-15)


def test_sums_are_kept_in_float64_and_do_not_grow():
    sums = summed(*((torch.tensor([[value]]), torch.zeros(1, 1)) for value in (1e8, 1.0, 1.0)))
    assert sums.scores('abs').item() == (1e8 + 2) / 3
    assert sums.state.shape == (2, 5, 1)
    assert PairedSums(3, 'mps').state.device.type == 'cpu'  # which has no float64


def broken(value):
    return torch.tensor([[1.0, value, 0.0], [3.0, 0.0, 0.0]])


@pytest.mark.parametrize('call, message', [
    (lambda sums: PairedSums(3).scores(), 'the data set or the subset is empty'),
    (lambda sums: sums.update(FIRST, SECOND[:1]), r'must be \(N, 3\), got \(2, 3\) and \(1, 3\)'),
    (lambda sums: sums.scores('absolute'), r"statistic must be one of abs, .*, got 'absolute'"),
    (lambda sums: sums.scores('centred'), "'centred' without a reference"),
    (lambda sums: sums.scores('abs', [0.0, 0.0, 0.0]), "'abs' with a reference"),
    (lambda sums: sums.scores('centred', [0.0, 0.0]), r'reference must hold 3 scores, got shape \(2,\)'),
    (lambda sums: summed((broken(float('nan')), SECOND), (FIRST, SECOND)).scores(),
     r'1 of 3 channels gave NaN or infinite activations \(the first is channel 1\)'),
    (lambda sums: summed((FIRST, broken(float('inf')))).scores('signed'), 'the first is channel 1'),
])  # fmt: skip
def test_sums_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call(summed((FIRST, SECOND)))


def test_the_channel_of_x_comes_first_and_the_even_one_last(planted):
    torch.manual_seed(0)
    images = torch.rand(6, 3, 7, 9, dtype=torch.float64)
    ranking = rank_channels(planted, [images], 'body.maps')
    assert set(ranking.order[:2]) == {X, FROM_RIGHT}
    assert ranking.scores[X] > 1e-3
    assert max(ranking.scores[EVEN], ranking.scores[Y], ranking.scores[CONSTANT]) < 1e-15
    assert (ranking.statistic, ranking.pair, ranking.region, ranking.num_images) == ('abs', 'flip_image', 'overall', 6)
    assert (ranking.model, ranking.model_sha256) == ('PlantedNet', model_fingerprint(planted))
    vertical = rank_channels(planted, [images], 'body.maps', pair='flip_image_vertical')
    assert vertical.order[0] == Y
    assert all(vertical.scores[channel] < 1e-15 for channel in (X, FROM_RIGHT, EVEN, CONSTANT))


@pytest.mark.parametrize('pair, statistic, columns, expected', [
    # A bright column at x gives z(I) = (x, 1 - x, |x - 1/2|, 0, 1); its mirror is at 1 - x, and half of the
    # width is 2 columns: columns 0 and 3 roll to 2 and 0, x = 0 and 3/4 to 1/2 and 0.
    ('flip_image', 'abs', (0, 3), [0.75, 0.75, 0, 0, 0]),
    ('flip_image', 'signed', (0, 1), [-0.75, 0.75, 0, 0, 0]),
    ('flip_image', 'signed', (4, 3), [0.75, -0.75, 0, 0, 0]),
    ('flip_image', 'relative', (0, 3), [1.5, 1.5, 0, 0, 0]),
    ('flip_image', 'mean_activation', (0, 3), [0.375, 0.625, 0.375, 0, 1]),
    ('roll_image', 'signed', (0, 3), [0.125, -0.125, 0.125, 0, 0]),
])  # fmt: skip
def test_scores_by_hand(planted, pair, statistic, columns, expected):
    ranking = rank_channels(planted, [lit_columns(*columns)], 'neck', pair, statistic)
    assert list(ranking.scores) == pytest.approx(expected, abs=1e-15)


def test_centred_takes_the_whole_data_sets_signed_scores_away(planted):
    everything = rank_channels(planted, [lit_columns(0, 0, 0, 4)], 'neck', statistic='signed')
    assert everything.scores == (-0.5, 0.5, 0, 0, 0)
    left = rank_channels(planted, [lit_columns(1)], 'neck', statistic='centred', reference=everything)
    assert left.scores == (0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="must be a 'signed' ranking by 'flip_image' at 'neck', got 'centred'"):
        rank_channels(planted, [lit_columns(1)], 'neck', statistic='centred', reference=left)
    with pytest.raises(ValueError, match="'centred' without a reference"):
        rank_channels(planted, pytest.fail, 'neck', statistic='centred')
    planted.head.bias.data += 1
    with pytest.raises(ValueError, match='reference was made from other weights: rank the whole data set with these'):
        rank_channels(planted, pytest.fail, 'neck', statistic='centred', reference=everything)


def test_the_network_is_left_as_it_was(planted):
    net = nn.Sequential(nn.BatchNorm2d(3), planted.body, nn.Dropout(1.0)).double()
    net.train()
    net[0].eval()
    before = model_fingerprint(net)
    for _ in range(2):
        rank_channels(net, [lit_columns(0)], '1[1]')
        with pytest.raises(ValueError, match='does not exist'):
            rank_channels(net, [lit_columns(0)], '9')
    assert [module.training for module in net.modules()] == [True, False, True, True, True]
    assert model_fingerprint(net) == before
    assert sum(len(module._forward_hooks) for module in net.modules()) == 0


def test_several_pairs_and_statistics_in_one_pass(planted):
    calls = []
    planted.body.register_forward_hook(lambda *args: calls.append(1))
    sums = collect_sums(planted, [lit_columns(0), lit_columns(3, 1)], 'neck', ['flip_image', 'roll_image'])
    assert len(calls) == 6 + 2  # two for the check that the layer gives one fixed answer
    for pair, statistic in (('flip_image', 'abs'), ('flip_image', 'signed'), ('roll_image', 'abs')):
        ranking = rank_channels(planted, [lit_columns(0, 3, 1)], 'neck', pair, statistic)
        assert sums[pair].scores(statistic).tolist() == list(ranking.scores)


@pytest.mark.parametrize('loader, message', [
    (DataLoader(torch.zeros(1, 3, 4, 4), sampler=DistributedSampler([0], 2, 1)), 'this process got no images'),
    ([torch.full((1, 3, 4, 4), float('nan')).double()], '5 of 5 channels gave NaN or infinite activations'),
])  # fmt: skip
def test_bad_images(planted, loader, message):
    with pytest.raises(ValueError, match=message):
        rank_channels(planted, loader, 'neck')


def test_reliability_is_the_correlation_of_the_halves_by_hand():
    # Ranks of the even images: 1, 0, 2; of the odd one: 2, 1, 0. Spearman: 1 - 6 (1 + 1 + 4) / (3 * 8) = -0.5.
    sums = summed((torch.tensor([[2.0, 1.0, 3.0], [2.0, 1.0, 0.0], [2.0, 1.0, 3.0]]), torch.zeros(3, 3)))
    assert sums.reliability() == pytest.approx(-0.5)
    assert sums.state[1].tolist() == [[2, 1, 0], [2, 1, 0], [2, 1, 0], [1, 0.5, 0], [1, 1, 1]]
    assert summed((torch.rand(1, 3), torch.rand(1, 3))).reliability() is None


def test_halves_do_not_depend_on_batches_or_processes():
    torch.manual_seed(0)
    first, second = torch.randn(2, 7, 5)
    batches, ranks = PairedSums(5), PairedSums(5)
    for start, stop in ((0, 3), (3, 4), (4, 7)):
        batches.update(first[start:stop], second[start:stop], position=start)
    for rank in range(2):
        ranks.update(first[rank::2], second[rank::2], position=rank, step=2)
    for other in (batches, ranks):
        torch.testing.assert_close(other.state, summed((first, second)).state, rtol=1e-14, atol=1e-14)


class InLayout(nn.Module):
    """Brightness times five maps, in a layout: x, 1 - x, one, y and zero."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.full((1, 1, 5), 7.0))
        self.stem, self.layer = nn.Conv2d(3, 5, 1), Turned(layout)
        nn.init.constant_(self.stem.weight, 1)
        nn.init.zeros_(self.stem.bias)
        x = torch.linspace(0, 1, 8).expand(8, 8)
        self.register_buffer('maps', torch.stack([x, 2 * x.flip(1), torch.ones(8, 8), x.T, torch.zeros(8, 8)]))

    def forward(self, images):
        return self.layer(self.stem(images) * self.maps, self.cls_token)


class Turned(nn.Module):
    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout, self.norm = layout, nn.LayerNorm(5)

    def forward(self, maps, token):
        if self.layout in ('NC', 'NCHW'):
            return maps.mean((2, 3)) if self.layout == 'NC' else maps
        last = maps.permute(0, 2, 3, 1)
        if self.layout != 'NHWC':
            last = last.flatten(1, 2)
        if self.layout == 'NLC with a class token':
            last = torch.cat([token.expand(len(maps), -1, -1), last], 1)
        self.norm(last)
        return last


@pytest.mark.parametrize('layout', ['NC', 'NCHW', 'NHWC', 'NLC', 'NLC with a class token'])
def test_the_same_channels_planted_in_every_layout_give_the_same_ranking(layout):
    model, images = InLayout(layout).eval(), torch.zeros(4, 3, 8, 8)
    for image, column in zip(images, (0, 2, 5, 7), strict=True):
        image[..., column] = 1
    ranking = rank_channels(model, [images], 'layer')
    assert ranking.order[:2] == (FROM_RIGHT, X)
    expected = rank_channels(InLayout('NCHW').eval(), [images], 'layer').scores
    assert ranking.scores == pytest.approx(expected, rel=1e-6, abs=1e-7)
    with ablate_channels(model, 'layer', top_channels(ranking, 2)):
        output = model(images)
    dim = {'NC': 1, 'NCHW': 1, 'NHWC': 3}.get(layout, 2)
    assert output.movedim(dim, 0)[:2].abs().max() == 0
    assert torch.equal(output.movedim(dim, 0)[2:], model(images).movedim(dim, 0)[2:])


@pytest.mark.parametrize('context', [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_any_context_gives_the_same_ranking(planted, context):
    expected = rank_channels(planted, [lit_columns(0, 3)], 'neck', pair='flip_kernels', statistic='mean_activation')
    with context():
        found = rank_channels(planted, [lit_columns(0, 3)], 'neck', pair='flip_kernels', statistic='mean_activation')
    assert found == expected
    assert all(parameter.grad is None for parameter in planted.parameters())


def test_half_precision_and_compiled_models():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()).eval()
    images = torch.rand(4, 3, 8, 8)
    expected = rank_channels(net, [images], '2')
    compiled = torch.compile(net, backend='eager')
    with torch.no_grad():
        compiled(images)
    assert rank_channels(compiled, [images], '2') == expected
    half = rank_channels(net.bfloat16(), [images], '2')
    assert half.scores == pytest.approx(expected.scores, rel=0.05)


def test_copies_on_several_devices_are_one_network():
    torch.manual_seed(0)
    net, images = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()), torch.rand(4, 3, 6, 6)
    assert rank_channels(Replicas(net), [images], '1') == rank_channels(net, [images], '1')


def test_images_that_a_sampler_repeats_are_left_out(planted):
    images = lit_columns(0, 1, 3)
    sums = PairedSums(5)
    for rank in range(2):
        sampler = DistributedSampler(range(3), num_replicas=2, rank=rank, shuffle=False)
        sums.state += collect_sums(planted, DataLoader(images, 1, sampler=sampler), 'neck')['flip_image'].state
    expected = collect_sums(planted, [images], 'neck')['flip_image']
    assert sums.num_images == 3
    assert torch.equal(sums.scores(), expected.scores())


def _rank(process: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=process, world_size=2)
    torch.manual_seed(0)
    net, images = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()), torch.rand(5, 3, 6, 6)
    samplers = DistributedSampler(images, shuffle=False), range(process, 5, 2)
    shared = [rank_channels(net, DataLoader(images, 2, sampler=sampler), '1') for sampler in samplers]
    distributed.destroy_process_group()
    whole = rank_channels(net, [images], '1')
    for found in shared:
        torch.testing.assert_close(torch.tensor(found.scores), torch.tensor(whole.scores))
        assert (found.num_images, found.order) == (5, whole.order)
        assert round(found.reliability, 6) == round(whole.reliability, 6)


@pytest.mark.slow
@pytest.mark.dist
def test_every_process_returns_the_ranking_of_all_images(tmp_path):
    torch.multiprocessing.start_processes(_rank, (tmp_path,), 2, start_method='fork')
