"""Tests of mmposenc.channels.sums."""

import pytest
import torch

from mmposenc.channels.sums import STATISTICS, PairedSums

FIRST = torch.tensor([[1.0, 4.0, 0.0], [3.0, 0.0, 0.0]])
SECOND = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])


def summed(*pairs):
    sums = PairedSums(pairs[0][0].shape[1])
    for first, second in pairs:
        sums.update(first, second)
    return sums


@pytest.mark.parametrize(
    'statistic, expected',
    [
        ('abs', [2.0, 3.0, 0.0]),  # (1 + 3) / 2, (4 + 2) / 2
        ('signed', [1.0, 1.0, 0.0]),  # (-1 + 3) / 2, (4 - 2) / 2
        ('relative', [2 / 1.5, 3 / 1.5, 0.0]),  # over (1.5 + 1.5) / 2, (2 + 1) / 2
        ('mean_activation', [2.0, 2.0, 0.0]),
    ],
)
def test_scores_by_hand(statistic, expected):
    assert summed((FIRST, SECOND)).scores(statistic).tolist() == pytest.approx(expected, abs=1e-15)


def test_centred_scores_by_hand():
    scores = summed((FIRST, SECOND)).scores('centred', reference=[0.25, 2.0, 0.0])
    assert scores.tolist() == [0.75, -1.0, 0.0]


def test_centring_removes_a_handed_channel_and_keeps_a_position_channel():
    # Channel 0 answers to the side the object is on, channel 1 gives 5 more for I than for its mirror wherever it is.
    left = summed((torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 0.0]])))
    right = summed((torch.tensor([[0.0, 5.0]]), torch.tensor([[1.0, 0.0]])))
    everything = summed((torch.zeros(0, 2), torch.zeros(0, 2)))
    everything.merge(left)
    everything.merge(right)
    assert left.scores('signed').argmax() == right.scores('signed').argmax() == 1
    reference = everything.scores('signed')
    assert left.scores('centred', reference).tolist() == [1.0, 0.0]
    assert right.scores('centred', reference).tolist() == [-1.0, 0.0]


def test_batches_ranks_and_one_pass_give_the_same_sums():
    torch.manual_seed(0)
    first, second = torch.randn(2, 30, 7)
    whole = summed((first, second))
    batches = summed((first[:4], second[:4]), (first[4:5], second[4:5]), (first[5:], second[5:]))
    ranks = [summed((first[i::3], second[i::3])) for i in range(3)]
    reduced = PairedSums(7)
    reduced.state.copy_(sum(rank.state for rank in ranks))
    for other in (batches, reduced):
        assert other.num_images == 30
        torch.testing.assert_close(other.state, whole.state, rtol=1e-14, atol=1e-14)


def test_sums_are_kept_in_float64_and_do_not_grow():
    sums = PairedSums(1)
    for value in (1e8, 1.0, 1.0):
        sums.update(torch.tensor([[value]]), torch.zeros(1, 1))
    assert sums.scores('abs').item() == (1e8 + 2) / 3
    assert sums.state.shape == (5, 1)


@pytest.mark.parametrize('statistic', [name for name in STATISTICS if name not in ('mean_activation', 'centred')])
def test_exchanging_the_members_negates_the_signed_score_and_nothing_else(statistic):
    there, back = summed((FIRST, SECOND)).scores(statistic), summed((SECOND, FIRST)).scores(statistic)
    assert torch.equal(back, -there if statistic == 'signed' else there)


def test_reading_scores_changes_nothing():
    sums = summed((FIRST, SECOND))
    sums.scores('mean_activation').zero_()
    assert sums.scores('mean_activation').tolist() == [2.0, 2.0, 0.0]


def test_nan_activations_are_named():
    broken = FIRST.clone()
    broken[0, 1] = float('nan')
    with pytest.raises(
        ValueError, match=r'1 of 3 channels gave NaN or infinite activations \(the first is channel 1\)'
    ):
        summed((broken, SECOND), (FIRST, SECOND)).scores('abs')
    broken[0, 1] = float('inf')
    with pytest.raises(ValueError, match='the first is channel 1'):
        summed((FIRST, broken)).scores('signed')


def test_bad_input():
    with pytest.raises(ValueError, match='the data set or the subset is empty'):
        PairedSums(3).scores()
    with pytest.raises(ValueError, match=r'must be \(N, 3\), got \(2, 3\) and \(1, 3\)'):
        PairedSums(3).update(FIRST, SECOND[:1])
    with pytest.raises(ValueError, match=r'must be \(N, 4\), got'):
        PairedSums(4).update(FIRST, SECOND)
    with pytest.raises(ValueError, match='num_channels must be at least 1, got 0'):
        PairedSums(0)
    with pytest.raises(ValueError, match='sums of 3 and of 4 channels'):
        PairedSums(3).merge(PairedSums(4))
    with pytest.raises(ValueError, match=r"statistic must be one of abs, .*, got 'absolute'"):
        summed((FIRST, SECOND)).scores('absolute')
    with pytest.raises(ValueError, match="'centred' without a reference"):
        summed((FIRST, SECOND)).scores('centred')
    with pytest.raises(ValueError, match="'abs' with a reference"):
        summed((FIRST, SECOND)).scores('abs', reference=[0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r'reference must hold 3 scores, got shape \(2,\)'):
        summed((FIRST, SECOND)).scores('centred', reference=[0.0, 0.0])
