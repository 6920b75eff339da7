"""Reading the cell: the discriminant against scikit-learn, and what each read-out can see."""

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mmposenc.grids.readouts import READOUTS, SHRINKAGES, choose_shrinkage, fit_lda, predict_cells, read_cells


def features(images: int = 24, cells: int = 4, channels: int = 6, strength: float = 1.0, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    code = strength * torch.randn(cells, channels, generator=generator, dtype=torch.float64)
    return code + torch.randn(images, cells, channels, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('channels', [6, 200])
@pytest.mark.parametrize('shrinkage', [1e-3, 0.3])
def test_equals_scikit_learn(shrinkage: float, channels: int):
    units = torch.tensor([1.0, 50, 0.1]).repeat(channels)[:channels]
    train, test = features(20, channels=channels, strength=0.5) * units, features(30, channels=channels, seed=1) * units
    scale = train.std((0, 1))
    ((weights, bias),) = fit_lda(train, [shrinkage])
    z = (train / scale).flatten(0, 1)
    within = (train / scale - (train / scale).mean(0)).flatten(0, 1)
    lda = LinearDiscriminantAnalysis(solver='lsqr', covariance_estimator=_Shrunk(shrinkage, within))
    lda.fit(z.numpy(), torch.arange(4).repeat(20).numpy())
    expected = lda.predict((test / scale).flatten(0, 1).numpy()).reshape(30, 4)
    assert (predict_cells(test, weights, bias).numpy() == expected).all()
    assert len(set(expected.flatten().tolist())) == 4


class _Shrunk:
    """The covariance as `fit_lda` defines it."""

    def __init__(self, shrinkage: float, within: torch.Tensor) -> None:
        covariance = within.T @ within / len(within)
        identity = torch.eye(len(covariance), dtype=torch.float64) * covariance.diagonal().mean()
        self.covariance_ = ((1 - shrinkage) * covariance + shrinkage * identity).numpy()

    def fit(self, z: object) -> None:
        """The covariance is given."""


def test_one_number_separates_nine_cells():
    z = torch.arange(9.0).view(1, 9, 1) + 0.01 * torch.randn(12, 9, 1, dtype=torch.float64)
    curves = read_cells(z)
    assert {name: curve[-1][1] for name, curve in curves.items()} == dict.fromkeys(READOUTS, 100.0)


def test_what_each_readout_can_see():
    # The cell is which of 4 channels is high: their order tells it, the sorted values and their sum do not.
    which = 5 * torch.eye(4, dtype=torch.float64) + 0.5 * torch.randn(80, 4, 4, dtype=torch.float64)
    found = {name: curve[-1][1] for name, curve in read_cells(which).items()}
    assert found['order'] > 95
    assert max(found['sorted'], found['sum'], found['shuffled']) < 45
    # The cell is how far apart two channels are, in random order.
    apart = torch.arange(4.0).view(1, 4, 1) * torch.tensor([1.0, -1.0]) + 0.02 * torch.randn(80, 4, 2).double()
    flipped = torch.where(torch.rand(80, 4, 1) < 0.5, apart, apart.flip(-1))
    found = {name: curve[-1][1] for name, curve in read_cells(flipped).items()}
    assert found['sorted'] > 95
    assert found['sum'] < 45


def test_without_position_the_accuracy_is_chance_to_the_digit():
    z = torch.randn(20, 1, 5, dtype=torch.float64).expand(20, 9, 5)
    for noise in (0.0, 1e-15, 1e-7):
        curves = read_cells(z + noise * torch.randn(20, 9, 5, dtype=torch.float64))
        for name in ('order', 'sorted', 'sum'):
            assert curves[name][-1][1:] == pytest.approx((100 / 9, 100 / 9, 100 / 9), abs=1e-12)


def test_a_sum_of_rounding_errors_and_images_that_are_all_alike():
    z = features(40, strength=3.0).float()
    curves = read_cells(z - z.mean(-1, keepdim=True))  # as behind layer normalisation
    assert curves['order'][-1][1] > 90
    assert curves['sum'][-1][1:] == (25, 25, 25)
    alike = read_cells(torch.eye(4).expand(12, 4, 4))
    assert (alike['order'][-1][1], alike['sum'][-1][1]) == (100, 25)


def test_a_curve_over_nested_training_images():
    curve = read_cells(features(160, strength=0.6), train_images=(8, 30, 120))['order']
    assert [point[0] for point in curve] == [8, 30, 120]
    assert curve[0][1] < curve[2][1]
    assert all(low < value < high for _, value, low, high in curve)
    assert [point[0] for point in read_cells(features(160))['order']] == [25, 100, 120]
    assert read_cells(features(160, strength=0.6), (120,))['order'][0] == curve[2]


def test_noise_wants_more_shrinkage_than_structure():
    # 200 channels for 10 images: with little shrinkage the inverse covariance is noise.
    assert choose_shrinkage(features(10, channels=200, strength=0.3)) >= 0.1
    # Position in a direction of little variance, which shrinkage hides.
    z = torch.randn(200, 4, 1, dtype=torch.float64) * torch.tensor([1.0, 1.0])
    z[..., 1] += 0.02 * torch.arange(4) + 1e-3 * torch.randn(200, 4)
    assert choose_shrinkage(z) == SHRINKAGES[0]


@pytest.mark.parametrize('images, sizes, message', [
    (7, None, 'at least 8 images, got 7'),
    (24, (2,), 'from 4 to 18 of the 24 images'),
    (24, (19,), 'from 4 to 18 of the 24'),
])  # fmt: skip
def test_bad_input(images: int, sizes: tuple | None, message: str):
    with pytest.raises(ValueError, match=message):
        read_cells(features(images), sizes)
