"""tools/draw_grid.py on a small network trained on digits."""

import re
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mmposenc.cli import common as command_line
from mmposenc.figures import grid_figures, pooled_sums

CONFIGS = Path(__file__).parents[2] / 'configs'
LOCATION = str(CONFIGS / 'gapnet_r18_grid3-location_digits.py')
CATEGORY = str(CONFIGS / 'gapnet_r18_grid3-category_digits.py')
TINY = ['--cfg-options', 'train_cfg.max_epochs=1', 'param_scheduler.end=1', 'train_dataloader.dataset.indices=320']
TINY += ['model.backbone.base_channels=4', 'model.backbone.stem_channels=4', 'model.head.in_channels=16']


def fails(main, capsys) -> str:
    with pytest.raises(SystemExit) as info:
        command_line.run(main)
    assert info.value.code == 1
    return capsys.readouterr().err


def test_the_inputs_alone(tool, capsys):
    tool('draw_grid')([LOCATION, '--out', 'pictures', '--num-images', '3'])
    assert capsys.readouterr().out.splitlines()[-1] == 'inputs: pictures/inputs.png'
    image = cv2.imread('pictures/inputs.png')
    assert (image > 200).any()
    assert not Path('pictures/confusion.png').exists()


def test_inputs_and_confusion_of_a_trained_network(tool, capsys):
    tool('train')([LOCATION, '--work-dir', 'run', *TINY])
    accuracy = float(re.search(r'accuracy/top1 (\S+);', capsys.readouterr().out.splitlines()[-1])[1])
    drawn = {}

    def note(**kwargs):
        return drawn.setdefault(len(drawn), Figure(**kwargs))

    with patch.object(grid_figures, 'Figure', note), patch.object(pooled_sums, 'Figure', note):
        tool('draw_grid')([LOCATION, 'run/epoch_1.pth', '--out', 'pictures', '--work-dir', 'run', *TINY])
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said[0] == 'confusion: pictures/confusion.png'
    assert re.fullmatch(r'sums: pictures/sums.png; always 0 in \d of 9 cells', said[1])
    for name in ('confusion', 'sums'):
        assert cv2.imread(f'pictures/{name}.png') is not None
    inputs, confusion, sums = drawn.values()
    # The test images stand in every cell: the fourth canvas is the first digit in cell 3, the left of the middle row.
    canvas = inputs.axes[3].images[0].get_array()
    assert inputs.axes[3].get_title().startswith('location 3, ')
    outside = canvas.copy()
    outside[16:32, :16] = outside[0, 0]
    assert (outside == outside[0, 0]).all()
    assert np.ptp(canvas[16:32, :16]) > 200
    # The share of right cells is what the training's validation said.
    shares = [panel.images[0].get_array().flat[cell] for cell, panel in enumerate(confusion.axes[:9])]
    assert np.mean(shares) == pytest.approx(accuracy, abs=0.01)
    assert np.mean(sums.axes[0].collections[1].get_array()) == pytest.approx(accuracy, abs=0.01)


@pytest.mark.parametrize('shift, total, silent', [(-1.0, 0, 9), (3.0, 96, 0)])
def test_the_sums_are_those_of_the_channels(tool, capsys, shift, total, silent):
    """A last stage of constants: two blocks make each of 16 channels 3 + 3, or 0 where a ReLU meets a negative."""
    tool('train')([LOCATION, '--work-dir', 'run', *TINY])
    checkpoint = torch.load('run/epoch_1.pth', weights_only=True)
    for name, weights in checkpoint['state_dict'].items():
        if re.match(r'backbone\.layer3\.\d\.(bn\d|downsample\.1)\.(weight|bias)', name):
            weights.fill_(shift if name.endswith('bn2.bias') else 0)
    torch.save(checkpoint, 'set.pth')
    figure = Figure()
    with patch.object(pooled_sums, 'Figure', lambda **_: figure):
        tool('draw_grid')([LOCATION, 'set.pth', '--out', 'pictures', '--work-dir', 'run', *TINY])
    assert capsys.readouterr().out.splitlines()[-1] == f'sums: pictures/sums.png; always 0 in {silent} of 9 cells'
    assert figure.axes[0].collections[1].get_offsets()[:, 1].tolist() == pytest.approx([total] * 9)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([LOCATION, '--num-images', '0'], 'error: --num-images must be at least 1, got 0'),
        ([LOCATION, 'nowhere.pth'], r'error: checkpoint nowhere.pth does not exist'),
        ([CATEGORY, 'any.pth'], 'error: a confusion over the grid needs task location, got category in'),
    ],
)
def test_a_mistake_is_one_line(tool, capsys, arguments, message):
    main = tool('draw_grid')
    assert message in fails(lambda: main(arguments), capsys)


def test_a_data_set_without_a_grid(tool, capsys, classifier_config):
    main = tool('draw_grid')
    assert 'is on no grid' in fails(lambda: main([str(classifier_config)]), capsys)
