"""`mmposenc compare` on rankings whose relation is known by hand, and with a user's mistakes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmposenc.ranking import Ranking


def save(name: str, scores: list[float]) -> str:
    Ranking(layer='neck', statistic='abs', pair='flip_image', num_images=1, scores=scores).save(name)
    return name


def test_tables_by_hand(tool: Callable, capsys: pytest.CaptureFixture) -> None:
    # Ranks 1 2 3 4, the same reversed, and the middle two changed: 1 - 6 (0 + 1 + 1 + 0) / (4 (16 - 1)) = 0.8.
    files = [save('up.json', [1, 2, 3, 4]), save('down.json', [4, 3, 2, 1]), save('changed.json', [1, 30, 20, 40])]
    tool('compare')([*files, save('flat.json', [1, 1, 1, 1]), '--top', '2'])
    assert capsys.readouterr().out == (
        'Spearman rank correlation of the scores of 4 channels:\n\n'
        '|  | up | down | changed |\n| --- | --- | --- | --- |\n'
        '| down | -1.00 |  |  |\n| changed | 0.80 | -0.80 |  |\n| flat | - | - | - |\n\n'
        'Common channels among the 2 top-ranked; 1.0 are expected by chance:\n\n'
        '|  | up | down | changed |\n| --- | --- | --- | --- |\n'
        '| down | 0 |  |  |\n| changed | 1 | 1 |  |\n| flat | 0 | 2 | 1 |\n'
    )


def test_mistakes(tool: Callable) -> None:
    Path('a').mkdir()
    one, again, other = save('one.json', [1, 2]), save('a/one.json', [2, 1]), save('other.json', [1, 2, 3])
    for arguments, message in (
        ([one], 'rankings must be two or more files of different names'),
        ([one, again], 'rankings must be two or more files of different names'),
        ([one, other], "all rankings must have the same number of channels, got {'one': 2, 'other': 3}"),
        ([one, save('two.json', [2, 1]), '--top', '3'], '--top must be from 1 to the 2 channels, got 3'),
    ):
        with pytest.raises(ValueError, match=message):
            tool('compare')(arguments)
