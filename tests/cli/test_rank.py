"""`mmposenc rank` on ordinary configs of mmseg and with a user's mistakes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mmposenc.ranking import Ranking, file_sha256

pytestmark = pytest.mark.usefixtures('segmenter')


def test_a_stock_mmseg_config(tool: Callable, segmenter_config: Path, capsys: pytest.CaptureFixture) -> None:
    tool('rank')([segmenter_config, 'weights.pth'])
    *_, named, done = capsys.readouterr().out.rstrip().splitlines()
    ranking = Ranking.load('work_dirs/tiny_seg/ranking.json')
    best = ', '.join(map(str, ranking.order[:10]))
    assert named == f'work_dirs/tiny_seg/ranking.json: flip_image, abs, overall; top-ranked channels {best}'
    figures = r'images 4, channels 32, reliability/flip_image-abs 0\.\d+'
    assert re.fullmatch(rf'done: {figures}; checkpoint: weights.pth', done)
    assert (ranking.layer, ranking.num_images, ranking.region) == ('backbone[-1]', 4, 'overall')
    assert (ranking.checkpoint_sha256, ranking.data_set) == (file_sha256('weights.pth'), 'BaseSegDataset images')
    assert len(set(ranking.scores)) > 10


def test_several_rankings_of_a_list_in_one_pass(tool: Callable, segmenter_config: Path) -> None:
    Path('val-left.txt').write_text('0\n2\n')
    options = ['--region-list', 'val-left.txt', '--layer', 'backbone.layer2', '--out', 'left/rank.json']
    pairs = ['--pair', 'flip_image', 'roll_image', '--statistic', 'abs', 'signed', 'mean_activation']
    tool('rank')([segmenter_config, 'weights.pth', *options, *pairs])
    names = {f'rank-{pair}-{kind}.json' for pair in ('flip_image', 'roll_image') for kind in ('abs', 'signed')}
    names.add('rank-flip_image-mean_activation.json')  # it compares no pair
    assert {path.name for path in Path('left').iterdir()} == names
    ranking = Ranking.load('left/rank-roll_image-signed.json')
    assert (ranking.pair, ranking.statistic, ranking.region, ranking.num_images) == ('roll_image', 'signed', 'left', 2)
    assert (ranking.num_channels, ranking.data_set) == (8, 'BaseSegDataset images val-left.txt')


def test_the_halves_of_a_list_are_those_of_the_data_set(tool: Callable, segmenter_config: Path) -> None:
    """An image that a sweep of the other half measures is not ranked, wherever it stands in the list."""
    Path('val-left.txt').write_text('3\n0\n1\n')
    rank = [segmenter_config, 'weights.pth', '--out', 'ranking.json', '--region-list', 'val-left.txt', '--rank-split']

    def ranked(*options: str) -> tuple[int, tuple[float, ...]]:
        tool('rank')([*rank, *options])
        ranking = Ranking.load('ranking.json')
        return ranking.num_images, ranking.scores

    (few, odd), (_, first), (_, even) = ranked('odd'), ranked('odd', '--max-images', '2'), ranked('even')
    assert (few, Ranking.load('ranking.json').data_set) == (2, 'BaseSegDataset images val-left.txt, even images')
    Path('val-left.txt').write_text('1\n3\n')
    assert ranked('all') == (2, odd)
    for image, found in (('1', first), ('0', even)):
        Path('val-left.txt').write_text(image)
        assert ranked('all') == (1, found)


def test_mistakes_end_with_one_line_and_no_file(fails: Callable[..., str], segmenter_config: Path) -> None:
    Path('empty.txt').write_text('\n')
    Path('other.txt').write_text('0\n17\n')
    for arguments, message in (
        (['--layer', 'decode_head.convs.9'], r"error: layer 'decode_head.convs.9' does not exist: the deepest part .*"),
        (['--region-list', 'absent.txt'], r'error: there is no region list at absent.txt: make one with .*'),
        (['--region-list', 'empty.txt'], r'error: there are no images: check .*, or the region list'),
        (['--region-list', 'other.txt'], r'error: other.txt must list images of BaseSegDataset such as 0, got 17'),
        (['--max-images', '0'], r'error: --max-images must be at least 1, got 0'),
        (['--cfg-options', 'model.test_cfg.mode=slide'], r'error: position in the image needs whole-image inference.*'),
    ):
        error = fails('rank', segmenter_config, 'weights.pth', '--work-dir', 'run', *arguments)
        assert re.fullmatch(message + r'\n', error)
    assert not list(Path().rglob('ranking*.json'))
