"""chance_test, dissociation and image_interval: by hand, their properties, and their calibration."""

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmposenc.chance import Dissociation, chance_test, dissociation, image_interval

GENERATOR = np.random.default_rng(0)
RANDOM = GENERATOR.normal(5, 2, (39, 6))
PAIRS = GENERATOR.normal(5, 2, (39, 2, 6))


def test_by_hand() -> None:
    # 19 random orders; at the first N the harms are 1 to 19, at the second 0 but for the last order.
    random = np.stack([np.arange(1.0, 20), np.r_[np.zeros(18), 38]], axis=1)
    test = chance_test(np.array([17.5, 1.0]), random)
    # Mean harms are 9.25 of the ranking, 0.5 to 9 and 28.5 of the others: only the last is as large.
    assert test.p == pytest.approx(2 / 20)
    assert test.p_by_n.tolist() == pytest.approx([3 / 20, 2 / 20])
    assert test.random.tolist() == [10, 2]
    assert test.excess.tolist() == [7.5, -1]
    deviation = np.sqrt(19 * 20 / 12)
    assert float(test.high[0]) == pytest.approx(stats.t.ppf(0.975, 18) * deviation * np.sqrt(20 / 19))
    assert test.low.equal(-test.high)
    # At the first N the mean of all 20 is 10.375, at the second 1.95, the deviations are 5.73 and 8.49. The ranking has
    # 1.24 and -0.11; 18 and 19 have more than 1.24 somewhere, 10 to 19 more than -0.11.
    assert test.p_max.tolist() == pytest.approx([3 / 20, 11 / 20])


def test_p_max_is_the_share_of_curves_whose_largest_standardised_harm_is_as_large() -> None:
    own = RANDOM[0] + 2.5
    test = chance_test(own, RANDOM)
    curves = np.r_[own[None], RANDOM]
    standardised = (curves - curves.mean(0)) / curves.std(0, ddof=1)
    expected = (standardised.max(1)[:, None] >= standardised[0]).mean(0)
    assert test.p_max.tolist() == pytest.approx(expected.tolist())
    assert 1 / 40 < min(expected) < max(expected) < 1
    single = chance_test(own[:1], RANDOM[:, :1])
    assert single.p_max.tolist() == pytest.approx(single.p_by_n.tolist())


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from(['greater', 'less', 'two-sided']))
def test_properties(seed: int, alternative: str) -> None:
    rng = np.random.default_rng(seed)
    random, own = rng.integers(0, 4, (39, 5)).astype(float), rng.integers(0, 4, 5).astype(float)
    test = chance_test(own, random, alternative)
    # As scipy has them, with its convention for the smallest p value.
    for p, one, others in [(test.p, own.mean(), random.mean(1)), *zip(test.p_by_n, own, random.T, strict=True)]:
        greater, less = ((1 + (sign * others >= sign * one - 1e-9).sum()) / 40 for sign in (1, -1))
        wanted = {'greater': greater, 'less': less, 'two-sided': min(1, 2 * min(greater, less))}[alternative]
        assert float(p) == pytest.approx(wanted)
    assert (test.p_max >= test.p_by_n).all()
    assert chance_test(-own, -random, {'greater': 'less', 'less': 'greater'}.get(alternative, alternative)).p == test.p
    # Neither the unit nor a shift of all harms matters, nor the order of the random ones.
    assert chance_test(3 * own + 1, (3 * random + 1)[::-1], alternative).p_max.equal(test.p_max)


def test_ties_within_rounding_count_and_larger_differences_do_not() -> None:
    same = np.full((19, 2), 5.0)
    assert chance_test(np.array([5 + 1e-10, 5 + 1e-10]), same).p == 1
    assert chance_test(np.array([5 + 1e-6, 5 + 1e-6]), same).p == 0.05


def test_n_at_which_all_curves_agree_are_left_out() -> None:
    own, random = np.array([0, 9.0, 8.0, 40]), np.c_[np.zeros(39), RANDOM[:, :2], np.full(39, 40.0)]
    test, inner = chance_test(own, random), chance_test(own[1:3], random[:, 1:3])
    assert test.p == inner.p
    assert test.p_max.tolist() == [1, *inner.p_max.tolist(), 1]
    assert chance_test(np.zeros(2), np.zeros((19, 2))).p == 1


def test_several_rankings_are_tested_as_each_alone() -> None:
    harms = torch.from_numpy(RANDOM[:3] + np.array([[0], [3], [9]]))
    together = chance_test(harms, torch.from_numpy(RANDOM))
    for i, harm in enumerate(harms):
        alone = chance_test(harm.numpy(), RANDOM)
        assert alone.p == float(together.p[i])
        for name in ('p_by_n', 'p_max', 'excess', 'harm'):
            assert getattr(alone, name).equal(getattr(together, name)[i])
        assert [{**row, 'ranking': i} for row in alone.table()] == together.table()[6 * i : 6 * i + 6]
    row = together.table()[8]
    assert (row.pop('ranking'), row.pop('n'), row.pop('p')) == (1, 2, float(together.p[1]))
    assert all(value == float(getattr(together, name).expand(3, 6)[1, 2]) for name, value in row.items())


def test_dissociation_by_hand(tmp_path: Path) -> None:
    # Constant curves: g of the random orders is 0 to 18, of the left ranking 17.5, of the right one -1.
    random = np.stack([np.arange(19.0), np.zeros(19)], 1)[..., None].repeat(3, axis=2)
    left, right = np.array([[20.0] * 3, [2.5] * 3]), np.array([[3.0] * 3, [4.0] * 3])
    found = dissociation(left, right, random, overall=np.array([[10, 2, 30], [3, 3.5, 3]]))
    assert found.difference == 18.5
    # Of the 21 * 20 ordered pairs only (left, right) and (18, right) differ by 18.5 or more.
    assert found.p == pytest.approx(2 / 420)
    assert found.harm.tolist() == [[20, 14, 3], [2.5, pytest.approx(9.5 / 3), 4]]
    assert found.order.tolist() == [[True, False, False], [True, True, True]]
    assert [(row['region'], row['order_at'], row['of']) for row in found.table()] == [('left', 1, 3), ('right', 3, 3)]
    assert Dissociation.load(found.save(tmp_path / 'dissociation.json')).table() == found.table()
    back = dissociation(right, left, random)
    assert back.difference == -18.5
    assert back.p == pytest.approx(419 / 420)
    assert not back.order.any()
    # Against their own reverses: the orders differ by 0, 2, ..., 36 from theirs, 9 of 19 by 18.5 or more.
    assert dissociation(left, right, random, -random).p == pytest.approx(10 / 20)


def test_image_interval_has_the_spread_of_a_mean() -> None:
    images = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([3.0, 5.0])
    low, high = image_interval(images, lambda sums: sums / 400, num_resamples=4000)
    width = 2 * 1.96 * images.double().std(0) / 20
    assert ((high - low) / width - 1).abs().max() < 0.08
    assert (((high + low) / 2 - images.double().mean(0)).abs() < 0.03).all()
    same, other = (image_interval(images, lambda sums: sums / 400, seed=seed)[0] for seed in (0, 1))
    assert image_interval(images, lambda sums: sums / 400)[0].equal(same)
    assert not same.equal(other)


def test_image_interval_resamples_whole_images_for_all_variants_alike() -> None:
    images = torch.rand(7, 3, generator=torch.Generator().manual_seed(0))[:, None].expand(7, 2, 3)
    low, high = image_interval(images, lambda sums: sums[:, 0] - sums[:, 1], 150)
    assert low.abs().max() == high.abs().max() == 0
    drawn: list[torch.Tensor] = []
    image_interval(torch.eye(7), lambda sums: drawn.append(sums) or sums, 250)
    times = torch.cat(drawn)
    assert times.shape == (250, 7)
    assert times.sum(1).eq(7).all()
    assert times.eq(times.round()).all()
    assert len(times.unique(dim=0)) > 200


FORM = r'left, right and overall must be \(2, N\)'


def interval(images: int, number: int) -> object:
    return image_interval(torch.zeros(images, 1), lambda sums: sums, number)


@pytest.mark.parametrize('function, arguments, message', [
    (chance_test, (RANDOM[0], RANDOM[:18]), "18 random orders cannot reach p = 0.05: 'greater' needs at least 19"),
    (chance_test, (RANDOM[0], RANDOM[:38], 'two-sided'), "38 random orders .* 'two-sided' needs at least 39"),
    (chance_test, (RANDOM[0], RANDOM, 'more'), "alternative must be one of greater, less, two-sided, got 'more'"),
    (chance_test, (RANDOM[0], RANDOM[:, :5]), r'harm must be \(N,\) .* got \(6,\) and \(39, 5\)'),
    (chance_test, (RANDOM[:0], RANDOM), r'got \(0, 6\) and'),
    (chance_test, (RANDOM[0] * np.nan, RANDOM), 'a harm is NaN or infinite'),
    (dissociation, (PAIRS[0], PAIRS[1], PAIRS[:18]), '18 random orders cannot reach'),
    (dissociation, (PAIRS[0], PAIRS[1, :1], PAIRS), FORM),
    (dissociation, (PAIRS[0, 0], PAIRS[1, 0], RANDOM), FORM),
    (dissociation, (PAIRS[0], PAIRS[1], PAIRS, PAIRS[:20]), FORM),
    (dissociation, (PAIRS[0], PAIRS[1], PAIRS, None, PAIRS[0, :, :3]), FORM),
    (interval, (0, 1), 'images and num_resamples must be at least 1, got 0 and 1'),
    (interval, (1, 0), 'images and num_resamples must be at least 1, got 1 and 0'),
])  # fmt: skip
def test_bad_input(function: Callable, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.fixture(scope='module')
def calibration() -> ModuleType:
    path = Path(__file__).parents[1] / 'benchmarks' / 'chance_calibration.py'
    spec = spec_from_file_location('chance_calibration', path)
    module = sys.modules['chance_calibration'] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    'test, num_random',
    [('chance_test', 19), ('chance_test, two-sided', 39), ('p_max', 19), ('D', 19), ('D, reversed', 19)],
)
def test_the_tests_reject_in_5_percent_under_the_null(calibration: ModuleType, test: str, num_random: int) -> None:
    low, high = calibration.binomial_limits(600, confidence=0.999)
    for ratio in (0.1, 10):
        assert low <= calibration.rejection_rate(test, num_random, ratio, 600) <= high


def test_the_calibration_finds_invalid_tests_and_real_effects(calibration: ModuleType) -> None:
    _, high = calibration.binomial_limits(150, confidence=0.999)
    assert calibration.rejection_rate('0.1.0', 5, 10, 150) > 0.3 > high
    assert calibration.rejection_rate('D, as pairs', 39, 1, 300) > high
    assert calibration.rejection_rate('D, opposed', 39, 1, 300) < high
    assert calibration.power(0.6, 19, 150) > 0.9
