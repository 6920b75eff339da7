"""How often the tests against chance reject where there is nothing to find, and how often where there is.

    python benchmarks/chance_calibration.py             # 2000 repetitions, about a minute on one core
    python benchmarks/chance_calibration.py --small     # 200 repetitions

Simulated harm: ablating channel c costs w_c on average, and w_c + e_ci on image i. An order of the C channels gives a
curve over N, the sum over its first N channels. The ratio is that of the spread between sets of channels (from w) to
the noise of the images (from e, in the mean over them).

Under the null the "ranking" is itself a random order, so a valid test at 5% rejects in 5% of the repetitions. Rates
outside the binomial limits printed above the table are marked. Rows:

    chance_test     the mean harm over all N
    p_max           any N, adjusted for all of them
    0.1.0           one N against the mean of R random orders, 95% bootstrap interval over images and orders
    D               the double dissociation of two random orders, against all ordered pairs
    D, reversed     of an order and its reverse, each of R + 1 orders against its own reverse
    D, opposed      of two orders that correlate by -0.6, against orders and their reverses: conservative
    D, as pairs     of an order and its reverse, against all ordered pairs: not valid from N = C/2 on
    D, opp. pairs   of two orders that correlate by -0.6, against all ordered pairs: not valid

Under the alternative the ranking sorts the channels by scores whose correlation with w is given.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import binom

from mmposenc.chance import chance_test, dissociation

LEVEL = 0.05
CHANNELS, IMAGES = 64, 200
NUM_CHANNELS = np.arange(8, CHANNELS, 8)
RATIOS = (0.1, 1.0, 10.0)


class World:
    """One network and data set: the harm of each channel on each image, in each region.

    Args:
        rng: Source of randomness.
        ratio: Spread between sets of channels over the noise of the images.
        regions: Number of regions, with independent harms.
    """

    def __init__(self, rng: np.random.Generator, ratio: float, regions: int = 1) -> None:
        self.rng = rng
        self.effect = rng.normal(size=(regions, CHANNELS)) * ratio
        self.images = self.effect[..., None] + rng.normal(size=(regions, CHANNELS, IMAGES)) * np.sqrt(IMAGES)
        self.harm = self.images.mean(-1)

    def orders(self, number: int) -> np.ndarray:
        """Random orders of the channels, (number, CHANNELS)."""
        return self.rng.permuted(np.tile(np.arange(CHANNELS), (number, 1)), axis=1)

    def curves(self, orders: np.ndarray) -> np.ndarray:
        """Harm at each of NUM_CHANNELS, (orders, regions, N)."""
        return self.harm[:, orders].cumsum(-1)[..., NUM_CHANNELS - 1].swapaxes(0, 1)

    def by_correlation(self, correlation: float) -> np.ndarray:
        """An order by scores that correlate with the harm, (1, CHANNELS)."""
        harm = (self.harm[0] - self.harm[0].mean()) / self.harm[0].std()
        scores = correlation * harm + np.sqrt(1 - correlation**2) * self.rng.normal(size=CHANNELS)
        return np.argsort(-scores)[None]


def mean_harm(world: World, num_random: int) -> bool:
    curves = world.curves(world.orders(1 + num_random))[:, 0]
    return chance_test(curves[0], curves[1:]).p <= LEVEL


def any_n(world: World, num_random: int) -> bool:
    curves = world.curves(world.orders(1 + num_random))[:, 0]
    return bool((chance_test(curves[0], curves[1:]).p_max <= LEVEL).any())


def two_sided(world: World, num_random: int) -> bool:
    curves = world.curves(world.orders(1 + num_random))[:, 0]
    return chance_test(curves[0], curves[1:], 'two-sided').p <= LEVEL


def old_test(world: World, num_random: int, number: int = CHANNELS // 2, resamples: int = 400) -> bool:
    """The test of version 0.1.0: does the bootstrap interval of harm minus mean random harm exclude 0?"""
    sets = world.orders(1 + num_random)[:, :number]
    images = world.images[0][sets].sum(1).T  # (images, 1 + R)
    times = world.rng.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), resamples)
    again = times @ images / IMAGES
    draws = world.rng.integers(1, 1 + num_random, (resamples, num_random))
    excess = again[:, 0] - np.take_along_axis(again, draws, axis=1).mean(1)
    low, high = np.quantile(excess, [LEVEL / 2, 1 - LEVEL / 2])
    return bool(low > 0 or high < 0)


def independent_pair(world: World, num_random: int) -> bool:
    curves = world.curves(world.orders(2 + num_random))
    return dissociation(curves[0], curves[1], curves[2:]).p <= LEVEL


def reversed_pair(world: World, num_random: int, reverses: bool = True) -> bool:
    orders = world.orders(1 + num_random)
    curves, back = world.curves(orders), world.curves(orders[:, ::-1])
    return dissociation(curves[0], back[0], curves[1:], back[1:] if reverses else None).p <= LEVEL


def opposed_pair(world: World, num_random: int, reverses: bool = True) -> bool:
    one, noise = world.rng.normal(size=(2, CHANNELS))
    two = np.argsort(0.6 * one + 0.8 * noise)[None]
    curves = world.curves(np.concatenate([np.argsort(-one)[None], two, orders := world.orders(num_random)]))
    back = world.curves(orders[:, ::-1]) if reverses else None
    return dissociation(curves[0], curves[1], curves[2:], back).p <= LEVEL


def opposed_as_pairs(world: World, num_random: int) -> bool:
    return opposed_pair(world, num_random, reverses=False)


def reversed_as_pairs(world: World, num_random: int) -> bool:
    return reversed_pair(world, num_random, reverses=False)


TESTS: dict[str, tuple[Callable[[World, int], bool], tuple[int, ...], int]] = {
    'chance_test': (mean_harm, (19, 39), 1),
    'chance_test, two-sided': (two_sided, (39,), 1),
    'p_max': (any_n, (19, 39), 1),
    '0.1.0': (old_test, (5, 20, 39), 1),
    'D': (independent_pair, (19, 39), 2),
    'D, reversed': (reversed_pair, (19, 39), 2),
    'D, opposed': (opposed_pair, (39,), 2),
    'D, as pairs': (reversed_as_pairs, (39,), 2),
    'D, opp. pairs': (opposed_as_pairs, (39,), 2),
}
"""By name: the test, the numbers of random orders to try, the regions it needs."""


def rejection_rate(name: str, num_random: int, ratio: float, repetitions: int, seed: int = 0) -> float:
    """Share of repetitions in which a test rejects at 5% under the null."""
    test, _, regions = TESTS[name]
    rng = np.random.default_rng([seed, num_random, round(100 * ratio), *name.encode()])
    return sum(test(World(rng, ratio, regions), num_random) for _ in range(repetitions)) / repetitions


def power(correlation: float, num_random: int, repetitions: int, seed: int = 0) -> float:
    """Share of repetitions in which chance_test finds a ranking whose scores correlate with the harm."""
    rng = np.random.default_rng([seed, num_random, round(100 * correlation)])
    found = 0
    for _ in range(repetitions):
        world = World(rng, 1.0)
        curves = world.curves(np.concatenate([world.by_correlation(correlation), world.orders(num_random)]))[:, 0]
        found += chance_test(curves[0], curves[1:]).p <= LEVEL
    return found / repetitions


def binomial_limits(repetitions: int, confidence: float = 0.95) -> tuple[float, float]:
    """Rates between which a test with a true rate of 5% lies with this confidence."""
    low, high = binom.interval(confidence, repetitions, LEVEL)
    return float(low) / repetitions, float(high) / repetitions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--small', action='store_true', help='200 repetitions in place of 2000')
    parser.add_argument('--json', help='also write the rates to this file')
    args = parser.parse_args()
    repetitions = 200 if args.small else 2000
    low, high = binomial_limits(repetitions)
    print(f'{repetitions} repetitions; 95% binomial limits of 5%: {100 * low:.1f} to {100 * high:.1f}%')
    print('rejected at 5% under the null (%), by spread between sets / noise of images; * is outside the limits')
    print(f'{"test":24}{"R":>4}' + ''.join(f'{ratio:>9}' for ratio in RATIOS))
    null = []
    for name, (_, numbers, _) in TESTS.items():
        for num_random in numbers:
            rates = [rejection_rate(name, num_random, ratio, repetitions) for ratio in RATIOS]
            shown = (f'{100 * rate:.1f}{" " if low <= rate <= high else "*"}' for rate in rates)
            print(f'{name:24}{num_random:>4}' + ''.join(f'{text:>9}' for text in shown), flush=True)
            null += [dict(test=name, R=num_random, ratio=x, rate=y) for x, y in zip(RATIOS, rates, strict=True)]
    found = []
    print('found by chance_test (%), by the correlation of the scores with the harm')
    correlations = (0.1, 0.2, 0.3, 0.4, 0.6)
    print(f'{"":24}{"R":>4}' + ''.join(f'{correlation:>9}' for correlation in correlations))
    for num_random in (19, 39, 199):
        rates = [power(correlation, num_random, repetitions) for correlation in correlations]
        print(f'{"power":24}{num_random:>4}' + ''.join(f'{100 * rate:>8.1f} ' for rate in rates), flush=True)
        found += [dict(R=num_random, correlation=x, rate=y) for x, y in zip(correlations, rates, strict=True)]
    if args.json:
        Path(args.json).write_text(json.dumps(dict(repetitions=repetitions, null=null, power=found), indent=1))


if __name__ == '__main__':
    main()
