"""tools/draw_ablation.py on a stock mmseg config."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmposenc.cli import common as command_line
from mmposenc.ranking import Ranking, model_fingerprint

Tool = Callable[[str], Callable[[list[str]], None]]


def test_draws_images_by_position_and_name(
    tool: Tool, segmenter_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(segmenter_config).model)
    torch.save({'state_dict': model.state_dict()}, 'weights.pth')
    conditions = dict(layer='backbone[-1]', statistic='abs', pair='flip_image', num_images=4, scores=list(range(32)))
    Ranking(**conditions, model_sha256=model_fingerprint(model)).save('ranking.json')
    main = tool('draw_ablation')
    options = [str(segmenter_config), 'weights.pth', '--ranking', 'ranking.json']
    main([*options, '--num-channels', '8', '--images', '3.png', '0', '--out', 'pictures/fig5.png'])
    said = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert said == 'done: 2 images without 8 channels of backbone[-1]: pictures/fig5.png'
    picture = cv2.imread('pictures/fig5.png')
    assert picture.shape[1] > 2000
    assert picture.std() > 10

    def error(*arguments: str) -> str:
        with pytest.raises(SystemExit) as info:
            command_line.run(lambda: main([*options, '--num-channels', '8', *arguments]))
        assert info.value.code == 1
        return capsys.readouterr().err

    assert error('--images', '4') == 'error: --images takes positions from 0 to 3 or file names, got 4\n'
    assert re.match(r'error: num_channels must be from 0 to 32, .*, got 33', error('--num-channels', '33'))
    Ranking(**conditions, model_sha256='ab' * 32).save('ranking.json')
    assert re.match(r'error: the ranking was made from other weights', error())
