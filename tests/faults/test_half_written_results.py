"""kill -9 and a full disk while a ranking or a sweep is written: the whole file or none, and the same one later."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from runs import Run

from mmposenc.ranking import Ranking

Start, Write = Callable[..., Run], Callable[..., str]
pytestmark = pytest.mark.slow
SWEEP = ['--rankings', 'ranking.json', '--num-channels', '0:33:16', '--random', '1']
FULL = 'the disk or the quota is full. What was written whole before is whole: make room and give the same command'


@pytest.fixture
def weights(segmenter_config: Path) -> str:
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(segmenter_config).model)
    torch.save({'state_dict': model.state_dict()}, 'weights.pth')
    return 'weights.pth'


def fault(part: str, killed: bool) -> dict:
    return dict(type='FaultyWrite', part=part, killed=killed)


def names(folder: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob('*') if path.is_file()}


def test_a_ranking(start: Start, config: Write, weights: str) -> None:
    def rank(name: str, *hooks: dict, out: str) -> Run:
        return start('rank_channels', config('segmenter', name, *hooks), weights, '--out', f'{out}/r.json')

    whole = rank('whole', out='whole')
    assert whole.status() == 0, whole.text()
    expected = Path('whole/r.json').read_bytes()

    # In the middle of the pass, and in the middle of the file.
    for number, kill in enumerate(
        (dict(type='SignalAt', name='SIGKILL', iteration=2, testing=True), fault('r.json', True))
    ):
        assert rank(f'killed{number}', kill, out='killed').status() == -9
        assert not list(Path('killed').glob('*.json'))
    assert rank('again', out='killed').status() == 0
    assert Path('killed/r.json').read_bytes() == expected

    older = Path('full/r.json')
    older.parent.mkdir()
    older.write_text(json.dumps({**json.loads(expected), 'region': 'older'}))
    before = older.read_bytes()
    full = rank('full', fault('r.json', False), out='full')
    assert full.status() == 1
    (line,) = full.errors()
    assert FULL in line
    assert 'Traceback' not in full.text()
    assert older.read_bytes() == before
    assert names('full') == {'r.json'}


def test_a_sweep(start: Start, config: Write, weights: str) -> None:
    Ranking(
        layer='backbone[-1]', statistic='abs', pair='flip_image', scores=torch.rand(32).tolist(), num_images=1
    ).save('ranking.json')

    def sweep(name: str, *hooks: dict, out: str) -> Run:
        return start('sweep', config('segmenter', name, *hooks), weights, *SWEEP, '--out', out)

    def files(folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}

    whole = sweep('whole', out='whole')
    assert whole.status() == 0, whole.text()
    # A kill at any other time is in tests/engine/test_sweep_loop.py.
    assert sweep('killed', fault('sweep.csv', True), out='parts').status() == -9
    assert not Path('parts/sweep.csv').exists()
    for number, part in enumerate(('.npz', 'sweep.csv')):
        folder = f'full{number}'
        run = sweep(folder, fault(part, False), out=folder)
        assert run.status() == 1
        (line,) = run.errors()
        assert FULL in line
        assert 'Traceback' not in run.text()
        assert not Path(folder, 'sweep.csv').exists()
        assert not [name for name in names(folder) if name.endswith(('.tmp', '.lock'))]
    for folder in ('parts', 'full0'):
        assert sweep(f'{folder}-again', out=folder).status() == 0
        assert files(folder) == files('whole')
