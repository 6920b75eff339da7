"""Components of variance: by hand, against statsmodels, against simulated truth."""

import pandas
import pytest
import torch
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from mmposenc.grids.variance import AXES, cell_contrasts, position_variance


def simulated(images: int, grid_size: int, position: torch.Tensor, content: float, interaction: float, seed: int = 0):
    """z = position_cell + content_image + interaction_image,cell for each of 400 channels, as variances."""
    generator = torch.Generator().manual_seed(seed)
    cells, channels = grid_size**2, 400
    noise = torch.randn(images, cells, channels, generator=generator, dtype=torch.float64)
    noise = (noise - noise.mean(1, keepdim=True)) * (cells / (cells - 1)) ** 0.5
    contents = torch.randn(images, 1, channels, generator=generator, dtype=torch.float64)
    return position[None, :, None] + content**0.5 * contents + interaction**0.5 * noise


def test_hand_computed_components():
    # Three images in the cells of a 2x2 grid, one channel: cell effects 3, 1, -1, -3, image effects 0, 1, 5, and an
    # interaction +-1 in the pattern + - - + for the first image, - + + - for the second.
    cell, image = torch.tensor([3.0, 1, -1, -3]), torch.tensor([0.0, 1, 5])
    twist = torch.tensor([1.0, -1, -1, 1])[None] * torch.tensor([1.0, -1, 0])[:, None]
    found = position_variance((cell + image[:, None] + twist)[..., None], 2)
    # MS_cell = 3 * 20 / 3 = 20, MS_interaction = 8 / 6, MS_image = 4 * 14 / 2 = 28.
    assert found.components['position'].item() == pytest.approx((20 - 8 / 6) / 3 * 3 / 4)
    assert found.components['content'].item() == pytest.approx(28 / 4)
    assert found.components['interaction'].item() == pytest.approx(8 / 6 * 3 / 4)
    # Rows: contrast (3 + 1 + 1 + 3) / 2 = 4, columns (3 - 1 - 1 + 3) / 2 = 2; row x column has mean 0 and the
    # interaction's variance, 2 * 2**2 / 2 = 4 over the images.
    assert found.components['top_bottom'].item() == pytest.approx(16 / 4)
    assert found.components['left_right'].item() == pytest.approx(4 / 4)
    assert found.components['rest'].item() == pytest.approx(-4 / 3 / 4)
    total = 4.6666667 + 7 + 1
    assert found.shares['content'][0] == pytest.approx(100 * 7 / total)


def test_equals_statsmodels_two_way_anova_on_one_channel():
    z = simulated(7, 3, torch.linspace(-1, 1, 9, dtype=torch.float64), 1.0, 0.5)[..., :1]
    rows = [dict(image=i, cell=c, z=z[i, c, 0].item()) for i in range(7) for c in range(9)]
    table = anova_lm(ols('z ~ C(image) + C(cell)', pandas.DataFrame(rows)).fit())
    mean_squares = table['mean_sq']
    found = position_variance(z, 3).components
    cell, image, rest = mean_squares['C(cell)'], mean_squares['C(image)'], mean_squares['Residual']
    assert found['position'].item() == pytest.approx((cell - rest) / 7 * 8 / 9, rel=1e-9)
    assert found['content'].item() == pytest.approx(image / 9, rel=1e-9)
    assert found['interaction'].item() == pytest.approx(rest * 8 / 9, rel=1e-9)


@pytest.mark.parametrize('grid_size', [2, 3, 5])
def test_the_axes_add_up_to_position_and_all_to_the_total(grid_size: int):
    z = torch.randn(6, grid_size**2, 5, dtype=torch.float64) + torch.randn(grid_size**2, 1, dtype=torch.float64)
    found = position_variance(z, grid_size)
    parts = found.components
    torch.testing.assert_close(sum(parts[axis] for axis in AXES), parts['position'])
    # The total variance, but for the bias that position loses: MS_interaction / I * (C - 1) / C.
    within = z - z.mean(1, keepdim=True)
    biased = (within - within.mean(0)).square().mean((0, 1))  # the interaction's, divided by I instead of I - 1
    total = within.square().mean((0, 1)) + z.mean(1).var(0) + parts['interaction'] * (5 / 6) - biased
    torch.testing.assert_close(found.total, total)
    assert sum(found.shares[name][0] for name in ('position', 'content', 'interaction')) == pytest.approx(100)


def test_contrasts_are_orthonormal_and_signed():
    for grid_size in (2, 3, 4, 7):
        contrasts = cell_contrasts(grid_size)
        basis = torch.cat(list(contrasts.values()))
        torch.testing.assert_close(basis @ basis.T, torch.eye(grid_size**2 - 1, dtype=torch.float64))
        assert basis.sum(1).abs().max() < 1e-12
    contrasts = {axis: basis[0].view(7, 7) for axis, basis in contrasts.items()}
    torch.testing.assert_close(contrasts['top_bottom'][:, 0] * 7**0.5 * 28**0.5, torch.arange(3.0, -4, -1).double())
    torch.testing.assert_close(contrasts['left_right'], contrasts['top_bottom'].T)
    middle, edge = contrasts['vertical_even'][3], contrasts['vertical_even'][0]
    assert (middle > 0).all()
    assert (edge < 0).all()
    torch.testing.assert_close(contrasts['horizontal_even'], contrasts['vertical_even'].T)


@pytest.mark.parametrize('axis, pattern', [
    ('top_bottom', [1, 1, 1, 0, 0, 0, -1, -1, -1]),
    ('left_right', [1, 0, -1] * 3),
    ('vertical_even', [1, 1, 1, -2, -2, -2, 1, 1, 1]),
    ('horizontal_even', [1, -2, 1] * 3),
    ('rest', [1, 0, -1, 0, 0, 0, -1, 0, 1]),
])  # fmt: skip
def test_known_components_and_axis_are_recovered(axis: str, pattern: list[int]):
    cells = torch.tensor(pattern, dtype=torch.float64)
    cells *= (0.3 / cells.square().mean()) ** 0.5
    shares = position_variance(simulated(60, 3, cells, content=0.5, interaction=0.2), 3).shares
    for name, true in (('position', 30), ('content', 50), ('interaction', 20), (axis, 30)):
        assert shares[name][0] == pytest.approx(true, abs=1.5)
    for other in set(AXES) - {axis}:
        assert abs(shares[other][0]) < 0.3


def test_without_position_the_share_is_zero_on_average_and_the_interval_covers_it():
    covered = []
    for seed in range(40):
        z = simulated(20, 3, torch.zeros(9, dtype=torch.float64), content=0.5, interaction=0.5, seed=seed)
        _, low, high = position_variance(z[..., :4], 3).shares['position']
        covered.append(low <= 0 <= high)
    assert 33 <= sum(covered) <= 40


@pytest.mark.parametrize('still', [0, 4])
def test_the_jackknife_leaves_out_images(still: int):
    z = torch.randn(5, 4, 3, dtype=torch.float64)
    z[:still, :, 2] = 0  # With 4 still images, the last one alone gives channel 2 its variance.
    share, low, high = position_variance(z, 2).shares['position']
    others = [position_variance(torch.cat([z[:i], z[i + 1 :]]), 2).shares['position'][0] for i in range(5)]
    spread = (torch.tensor(others, dtype=torch.float64).var(correction=0) * 4).sqrt().item()
    assert (high - low) / 2 == pytest.approx(2.7764451 * spread, rel=1e-6)  # t of 4 degrees of freedom
    assert (high + low) / 2 == pytest.approx(share)


def test_dead_channels_count_in_no_share():
    z = torch.randn(6, 4, 4, dtype=torch.float64)
    dead = torch.cat([z, torch.full((6, 4, 1), 3.0), 1e-7 * torch.randn(6, 4, 1)], -1)
    found = position_variance(dead, 2)
    assert found.live.tolist() == [True] * 4 + [False] * 2
    moved = position_variance(z + 1e6, 2).shares  # a large mean costs no digits
    for name, share in position_variance(z, 2).shares.items():
        assert found.shares[name] == pytest.approx(share, rel=1e-9)
        assert moved[name] == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(
    'features, message', [(torch.rand(2, 4, 3), 'at least 3 images, got 2'), (torch.ones(3, 4, 3), 'all 3 channels')]
)
def test_bad_input(features: torch.Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        position_variance(features, 2)
