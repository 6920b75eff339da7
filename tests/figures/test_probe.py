"""The map of the position code: cells that the code does not tell apart share a name."""

from types import SimpleNamespace

import pytest
import torch

from mmposenc.figures.probe import plot_code_map

ROWS, COLUMNS = (part.flatten().double() for part in torch.meshgrid(torch.arange(3), torch.arange(3), indexing='ij'))


def names(code: torch.Tensor) -> dict[str, tuple[float, float]]:
    """What is written on the map, and where."""
    probe = SimpleNamespace(model='net', grid_size=3, codes={'a': code}, variance={'a': torch.ones(code.shape[1])})
    texts = plot_code_map(probe, 'a').axes[0].texts
    return {'\n'.join(sorted(text.get_text().split('\n'))): text.xy for text in texts}


def test_every_cell_has_a_name() -> None:
    """Rows along the stronger component, from the left; columns along the weaker one, from the top."""
    found = names(torch.stack([2 * ROWS, COLUMNS, 3 * ROWS], 1))
    assert len(found) == 9
    for name, place in found.items():
        row, column = map(int, name.split(','))
        assert place == pytest.approx((13**0.5 * (row - 1), 1 - column), abs=1e-9)


def test_cells_in_one_place_share_their_name() -> None:
    rows = torch.stack([ROWS, -ROWS + 1e-3 * COLUMNS], 1)
    found = sorted(names(rows), key=lambda name: names(rows)[name][0])
    assert found == ['0,0\n0,1\n0,2', '1,0\n1,1\n1,2', '2,0\n2,1\n2,2']


def test_a_single_channel_and_a_layer_without_position_have_a_map() -> None:
    assert len(names(ROWS[:, None])) == 3
    (all_cells,) = names(torch.ones(9, 4))
    assert all_cells.count('\n') == 8
