import pytest
import torch
from torch.nn import functional

from mmposenc.channels.constant_maps import add_borders, convolve_constant


def test_a_kernel_of_ones_counts_the_pixels_it_covers() -> None:
    small = convolve_constant(torch.tensor([[2.0]]), torch.ones(1, 1, 3, 3), (5, 6))
    assert small[0, 0].tolist() == [[8, 12, 8], [12, 18, 12], [8, 12, 8]]
    spread = add_borders(torch.zeros(1, 1, 5, 6), small)[0, 0]
    assert spread[0].tolist() == [8, 12, 12, 12, 12, 8]
    assert spread[2].tolist() == [12, 18, 18, 18, 18, 12]
    assert torch.equal(spread[0], spread[4])
    assert torch.equal(spread[1], spread[3])


@pytest.mark.parametrize('kernel', [1, 3, 5])
@pytest.mark.parametrize('size', [(1, 1), (1, 7), (2, 3), (3, 2), (4, 4), (5, 11), (12, 6)])
def test_it_is_the_convolution_of_the_full_map(kernel: int, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 4, kernel, kernel, generator=generator, dtype=torch.float64)
    maps = torch.randn(1, 2, *size, generator=generator, dtype=torch.float64)
    kept = maps.clone()
    full = functional.conv2d(vectors[:, :, None, None].expand(-1, -1, *size), weight, padding=kernel // 2)
    got = add_borders(maps, convolve_constant(vectors, weight, size))
    torch.testing.assert_close(got, maps + full)
    assert torch.equal(maps, kept)


def test_the_type_is_that_of_the_maps() -> None:
    got = add_borders(torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16), torch.full((2, 1, 3, 3), 0.5))
    assert got.dtype == torch.bfloat16
    assert got.shape == (2, 1, 4, 4)
    assert (got == 0.5).all()
