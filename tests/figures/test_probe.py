"""The map of the position code: cells that the code does not tell apart share a name."""

from types import SimpleNamespace

import torch

from mmposenc.figures.probe import plot_code_map

ROWS, COLUMNS = (part.flatten().double() for part in torch.meshgrid(torch.arange(3), torch.arange(3), indexing='ij'))


def names(code: torch.Tensor) -> list[str]:
    probe = SimpleNamespace(model='net', grid_size=3, codes={'a': code}, variance={'a': torch.ones(code.shape[1])})
    return sorted('\n'.join(sorted(t.get_text().split('\n'))) for t in plot_code_map(probe, 'a').axes[0].texts)


def test_every_cell_has_a_name() -> None:
    both = torch.stack([2 * ROWS, COLUMNS, 3 * ROWS], 1)
    assert names(both) == ['0,0', '0,1', '0,2', '1,0', '1,1', '1,2', '2,0', '2,1', '2,2']


def test_cells_in_one_place_share_their_name() -> None:
    rows = torch.stack([ROWS, -ROWS + 1e-3 * COLUMNS], 1)
    assert names(rows) == ['0,0\n0,1\n0,2', '1,0\n1,1\n1,2', '2,0\n2,1\n2,2']


def test_a_single_channel_and_a_layer_without_position_have_a_map() -> None:
    assert len(names(ROWS[:, None])) == 3
    (all_cells,) = names(torch.ones(9, 4))
    assert all_cells.count('\n') == 8
