"""`mmposenc draw`: overlays of a stock mmseg config, and the pictures of a small network trained on digits."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mmposenc.ranking import Ranking, model_fingerprint

LOCATION, CATEGORY = (f'mmposenc::gapnet_r18_grid3-{task}_digits.py' for task in ('location', 'category'))
TINY = ['--cfg-options', 'train_cfg.max_epochs=1', 'param_scheduler.end=1', 'train_dataloader.dataset.indices=320']
TINY += ['model.backbone.base_channels=4', 'model.backbone.stem_channels=4', 'model.head.in_channels=16']


def test_overlays_of_images_by_position_and_name(
    tool: Callable, segmenter_config: Path, segmenter: torch.nn.Module, capsys: pytest.CaptureFixture, fails: Callable
) -> None:
    conditions = dict(layer='backbone[-1]', statistic='abs', pair='flip_image', num_images=4, scores=list(range(32)))
    Ranking(**conditions, model_sha256=model_fingerprint(segmenter)).save('ranking.json')
    options = ['overlays', segmenter_config, 'weights.pth', '--ranking', 'ranking.json', '--num-channels', '8']
    tool('draw')([*options, '--images', '3.png', '0', '--out', 'pictures/fig5.png'])
    said = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert said == 'done: 2 images with 8 channels of backbone[-1] ablated: pictures/fig5.png'
    picture = cv2.imread('pictures/fig5.png')
    assert picture.shape[1] > 1200
    assert picture.std() > 10

    error = fails('draw', *options, '--images', '4')
    assert error == 'error: --images takes positions from 0 to 3 or file names, got 4\n'
    Ranking(**conditions, model_sha256='ab' * 32).save('ranking.json')
    assert fails('draw', *options).startswith('error: the ranking was made from other weights')


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures by the name of the file they are saved in."""
    from mmposenc import figures

    save, kept = figures.save_figure, {}

    def keep(figure: Figure, path: Path) -> Path:
        kept[Path(path).stem] = figure
        return save(figure, path)

    monkeypatch.setattr(figures, 'save_figure', keep)
    return kept


def test_grids_of_a_trained_network(tool: Callable, capsys: pytest.CaptureFixture, drawn: dict[str, Figure]) -> None:
    tool('train')([LOCATION, '--work-dir', 'run', *TINY])
    accuracy = float(re.search(r'accuracy/top1 (\S+);', capsys.readouterr().out.splitlines()[-1])[1])
    tool('draw')(['grids', LOCATION, 'run/epoch_1.pth', '--out', 'pictures', '--work-dir', 'run', *TINY])
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said[0] == 'confusion: pictures/confusion.png'
    assert re.fullmatch(r'sums: pictures/sums.png; the sum alone locates \d+\.\d%', said[1])
    assert all(cv2.imread(f'pictures/{name}.png') is not None for name in ('inputs', 'confusion', 'sums'))
    # The test images stand in every cell: the fourth canvas is the first digit in cell 3, the left of the middle row.
    axis = drawn['inputs'].axes[3]
    canvas = axis.images[0].get_array()
    assert axis.get_title().startswith('location 3, ')
    outside = canvas.copy()
    outside[16:32, :16] = outside[0, 0]
    assert (outside == outside[0, 0]).all()
    assert np.ptp(canvas[16:32, :16]) > 200
    # The share of correct cells is the accuracy of the training's last validation.
    shares = [panel.images[0].get_array().flat[cell] for cell, panel in enumerate(drawn['confusion'].axes[:9])]
    assert np.mean(shares) == pytest.approx(accuracy, abs=0.01)

    # A last stage of constants: two blocks make each of 16 channels 3 + 3, or 0 where a ReLU meets a negative.
    for shift, total in ((-1.0, 0), (3.0, 96)):
        checkpoint = torch.load('run/epoch_1.pth', weights_only=True)
        for name, weights in checkpoint['state_dict'].items():
            if re.match(r'backbone\.layer3\.\d\.(bn\d|downsample\.1)\.(weight|bias)', name):
                weights.fill_(shift if name.endswith('bn2.bias') else 0)
        torch.save(checkpoint, 'set.pth')
        tool('draw')(['grids', LOCATION, 'set.pth', '--out', 'pictures', '--work-dir', 'run', *TINY])
        said = capsys.readouterr().out.splitlines()[-1]
        assert said == 'sums: pictures/sums.png; the sum alone locates 11.1%'
        assert drawn['sums'].axes[0].collections[1].get_offsets()[:, 1].tolist() == pytest.approx([total] * 9)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([LOCATION, '--num-images', '0'], 'error: --num-images must be at least 1, got 0'),
        ([LOCATION, 'nowhere.pth'], r'error: checkpoint nowhere.pth does not exist'),
        ([LOCATION, '--launcher', 'pytorch'], 'error: pictures are drawn in one process'),
        ([CATEGORY, 'any.pth'], 'error: a confusion over the grid needs task location, got category in'),
        (['tiny.py'], 'has no grid'),
    ],
)
def test_a_mistake_is_one_line(fails: Callable, classifier_config: Path, arguments: list[str], message: str) -> None:
    assert message in fails('draw', 'grids', *arguments)
    assert not Path('inputs.png').exists()
