import pytest
import torch

from mmposenc.regions.confusion import segmentation_figures
from mmposenc.regions.margins import confusion_margins, margin_figures


def test_margins_and_figures_by_hand() -> None:
    confusion = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    margins = confusion_margins(confusion)
    assert margins.tolist() == [[8, 4, 0], [7, 5, 0], [6, 3, 0]]
    figures = margin_figures(margins)
    assert float(figures['aAcc']) == pytest.approx(75)
    assert figures['IoU'][:2].tolist() == pytest.approx([100 * 6 / 9, 100 * 3 / 6])
    assert figures['IoU'][2].isnan()
    assert float(figures['mIoU']) == pytest.approx((100 * 6 / 9 + 50) / 2)


def test_the_figures_are_those_of_the_counts() -> None:
    confusion = torch.randint(0, 50, (4, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    confusion[0, 0, 2] = confusion[0, 0, :, 2] = 0  # A class that is nowhere.
    figures, wanted = margin_figures(confusion_margins(confusion)), segmentation_figures(confusion)
    for name, values in figures.items():
        assert values.dtype == torch.float64
        torch.testing.assert_close(values, wanted[name], equal_nan=True, rtol=0, atol=0)


def test_margins_of_sums_are_sums_of_margins() -> None:
    confusion = torch.randint(0, 50, (7, 4, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(confusion_margins(confusion.sum(0)), confusion_margins(confusion).sum(0))
