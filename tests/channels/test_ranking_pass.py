"""Tests of mmposenc.channels.rank on networks whose ranking is known by hand."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mmposenc.channels.rank import collect_sums, rank_channels
from mmposenc.ranking import Ranking, model_fingerprint

X, FROM_RIGHT, EVEN, Y, CONSTANT = range(5)


def test_the_channel_of_x_comes_first_and_the_even_one_last(planted):
    torch.manual_seed(0)
    images = torch.rand(6, 3, 7, 9, dtype=torch.float64)
    ranking = rank_channels(planted, [images], 'body.maps')
    assert set(ranking.order[:2]) == {X, FROM_RIGHT}
    assert ranking.scores[X] > 1e-3
    assert max(ranking.scores[EVEN], ranking.scores[Y], ranking.scores[CONSTANT]) < 1e-15
    assert (ranking.statistic, ranking.pair, ranking.region, ranking.num_images) == ('abs', 'flip_image', 'overall', 6)
    assert (ranking.layer, ranking.model, ranking.model_sha256) == (
        'body.maps',
        'PlantedNet',
        model_fingerprint(planted),
    )


def test_vertical_flip_finds_the_channel_of_y(planted):
    torch.manual_seed(0)
    ranking = rank_channels(
        planted, [torch.rand(6, 3, 7, 9, dtype=torch.float64)], 'body.maps', pair='flip_image_vertical'
    )
    assert ranking.order[0] == Y
    assert all(ranking.scores[channel] < 1e-15 for channel in (X, FROM_RIGHT, EVEN, CONSTANT))


@pytest.mark.parametrize(
    'pair, statistic, columns, expected',
    [
        # A bright column at x gives z(I) = (x, 1 - x, |x - 1/2|, 0, 1); its mirror is at 1 - x, and half of the
        # width is 2 columns: columns 0 and 3 roll to 2 and 0, x = 0 and 3/4 to 1/2 and 0.
        ('flip_image', 'abs', (0, 3), [0.75, 0.75, 0, 0, 0]),
        ('flip_image', 'signed', (0, 1), [-0.75, 0.75, 0, 0, 0]),
        ('flip_image', 'signed', (4, 3), [0.75, -0.75, 0, 0, 0]),
        ('flip_image', 'relative', (0, 3), [1.5, 1.5, 0, 0, 0]),
        ('flip_image', 'mean_activation', (0, 3), [0.375, 0.625, 0.375, 0, 1]),
        ('roll_image', 'signed', (0, 3), [0.125, -0.125, 0.125, 0, 0]),
    ],
)
def test_scores_by_hand(planted, lit_columns, pair, statistic, columns, expected):
    ranking = rank_channels(planted, [lit_columns(*columns)], 'neck', pair, statistic)
    assert list(ranking.scores) == pytest.approx(expected, abs=1e-15)


def test_left_and_right_images_give_signed_scores_of_opposite_sign(planted):
    torch.manual_seed(0)
    left = torch.rand(5, 3, 4, 8, dtype=torch.float64)
    left[..., 4:] = 0
    left_ranking = rank_channels(planted, [left], 'neck', statistic='signed', region='left')
    right_ranking = rank_channels(planted, [left.flip(-1)], 'neck', statistic='signed', region='right')
    assert (left_ranking.order[0], left_ranking.order[-1]) == (FROM_RIGHT, X)
    assert (right_ranking.order[0], right_ranking.order[-1]) == (X, FROM_RIGHT)
    assert (left_ranking.region, right_ranking.region) == ('left', 'right')
    for channel in (X, FROM_RIGHT):
        assert left_ranking.scores[channel] == pytest.approx(-right_ranking.scores[channel])
        assert abs(left_ranking.scores[channel]) > 0.1


def test_centred_takes_the_whole_data_sets_signed_scores_away(planted, lit_columns):
    everything = rank_channels(planted, [lit_columns(0, 0, 0, 4)], 'neck', statistic='signed')
    assert everything.scores == (-0.5, 0.5, 0, 0, 0)
    left = rank_channels(planted, [lit_columns(1)], 'neck', statistic='centred', reference=everything)
    assert left.scores == (0, 0, 0, 0, 0)
    with pytest.raises(
        ValueError, match="reference must be a 'signed' ranking by 'flip_image' at 'neck', got 'centred'"
    ):
        rank_channels(planted, [lit_columns(1)], 'neck', statistic='centred', reference=left)
    with pytest.raises(ValueError, match="'centred' without a reference"):
        rank_channels(planted, pytest.fail, 'neck', statistic='centred')


@pytest.mark.parametrize('batch_size', [1, 4, 10])
def test_result_does_not_depend_on_the_batch_size(batch_size):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()).double()
    images = torch.rand(10, 3, 6, 6, dtype=torch.float64)
    loader = DataLoader(TensorDataset(images, torch.zeros(10)), batch_size)
    whole = rank_channels(net, [images], '2')
    ranking = rank_channels(net, loader, '2')
    assert ranking.order == whole.order
    assert ranking.scores == pytest.approx(whole.scores, rel=1e-12)
    assert ranking.num_images == 10


def test_the_network_is_left_as_it_was(planted, lit_columns):
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


def test_several_pairs_and_statistics_in_one_pass(planted, lit_columns):
    calls = []
    planted.body.register_forward_hook(lambda *args: calls.append(1))
    sums = collect_sums(planted, [lit_columns(0), lit_columns(3, 1)], 'neck', ['flip_image', 'roll_image'])
    assert len(calls) == 6
    for pair, statistic in (('flip_image', 'abs'), ('flip_image', 'signed'), ('roll_image', 'abs')):
        ranking = rank_channels(planted, [lit_columns(0, 3, 1)], 'neck', pair, statistic)
        assert sums[pair].scores(statistic).tolist() == list(ranking.scores)


def test_batches_of_every_kind(planted, lit_columns):
    images = lit_columns(0, 3, 1)
    expected = rank_channels(planted, [images], 'neck')
    for batch in ([images, torch.zeros(3)], (images,), list(images)):
        assert rank_channels(planted, [batch], 'neck') == expected


def test_nan_activations_are_an_error_and_no_ranking(planted, lit_columns):
    images = lit_columns(0, 3)
    images[1, 0, 0, 0] = float('nan')
    with pytest.raises(ValueError, match='5 of 5 channels gave NaN or infinite activations'):
        rank_channels(planted, [images], 'neck')


def test_bad_input(planted, lit_columns):
    with pytest.raises(ValueError, match='the loader gave no batch: the data set or the subset is empty'):
        rank_channels(planted, [], 'neck')
    with pytest.raises(ValueError, match=r'images of one batch must have one size, got \[\(3, 1, 5\), \(3, 4, 5\)\]'):
        rank_channels(planted, [[torch.zeros(3, 4, 5), torch.zeros(3, 1, 5)]], 'neck')
    for batch, got in (
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), r'torch.uint8 \(2, 3, 4, 4\)'),
        (torch.zeros(3, 4, 4), r'torch.float32 \(3, 4, 4\)'),
        ({'inputs': torch.zeros(1, 3, 4, 4)}, 'dict'),
        ([], 'list'),
    ):
        with pytest.raises(ValueError, match=f'must be normalised images .* got {got}'):
            rank_channels(planted, [batch], 'neck')
    with pytest.raises(ValueError, match='statistic must be one of'):
        rank_channels(planted, [lit_columns(0)], 'neck', statistic='variance')
    with pytest.raises(ValueError, match='pair must be one of'):
        rank_channels(planted, [lit_columns(0)], 'neck', pair='flip')
    with pytest.raises(ValueError, match=r"'body' gives a tuple of 2, one tensor is needed: write 'body\[-1\]'"):
        rank_channels(planted, [lit_columns(0)], 'body')


def test_a_saved_ranking_serves_the_same_network(planted, lit_columns, tmp_path):
    rank_channels(planted, [lit_columns(0, 3)], 'neck', data_set='columns').save(tmp_path / 'ranking.json')
    ranking = Ranking.load(tmp_path / 'ranking.json')
    ranking.check_model(planted)
    assert ranking.data_set == 'columns'
