"""A ranking file is read whole and right, or refused by its name: `Ranking.load` and `Ranking.from_permutenet`."""

import json
from pathlib import Path

import pytest
from hostile_cases import hostile, listing, outcome
from hostile_values import JSON, changed_json, damaged, deep
from hypothesis import example
from hypothesis import strategies as st

from mmposenc.ranking import Ranking

SCORES = [-0.5, 1 / 3, 2.0, 1e-300, 0.25, 1 / 3]
DOCUMENT = dict(
    format='mmposenc.ranking/1',
    num_channels=6,
    layer='backbone[-1]',
    statistic='signed',
    pair='flip_image',
    scores=SCORES,
    num_images=7,
    region='left',
    order=[2, 1, 5, 4, 3, 0],
    model='deeplabv3_r50',
    model_sha256='ab' * 32,
    checkpoint_sha256='cd' * 32,
    data_set='Cityscapes val',
    versions={'torch': '2.4.0', 'mmseg': '1.2.2'},
)
WHOLE = json.dumps(DOCUMENT).encode()
RELEASED = json.dumps({'overall': [3, 0, 2, 1]}).encode()


def check_whole(ranking: Ranking, content: bytes, again: Path) -> None:
    """An accepted ranking says what an ordinary JSON reader finds in the file, and is sound."""
    document = json.loads(content)
    assert document.pop('format') == 'mmposenc.ranking/1'
    assert document.pop('num_channels') == len(ranking.scores) == len(ranking.order) > 0
    for name, value in document.items():
        kept = getattr(ranking, name)
        assert (list(kept) if isinstance(value, list) else kept) == value, name
    assert sorted(ranking.order) == list(range(len(ranking.scores)))
    sorted_scores = sorted(ranking.scores, reverse=True)
    assert [ranking.scores[channel] for channel in ranking.order] == sorted_scores
    assert all(abs(score) < float('inf') for score in sorted_scores)
    ranking.save(again)
    assert Ranking.load(again) == ranking


def check_load(content: bytes, folder: Path) -> None:
    path = folder / 'ranking.json'
    path.write_bytes(content)
    before = listing(folder)
    loaded, message = outcome(lambda: Ranking.load(path), path)
    assert listing(folder) == before
    if message is None:
        check_whole(loaded, content, folder / 'again.json')


def check_from_permutenet(content: bytes, folder: Path) -> None:
    path = folder / 'list.json'
    path.write_bytes(content)
    loaded, message = outcome(lambda: Ranking.from_permutenet(path, 'backbone[-1]'), path)
    if message is None:
        ((key, order),) = json.loads(content).items()
        assert (loaded.region, list(loaded.order)) == (key, order)
        assert [loaded.scores[channel] for channel in order] == list(range(len(order), 0, -1))


@pytest.mark.parametrize('name', sorted(DOCUMENT))
def test_the_whole_file_is_accepted_and_no_entry_can_be_missing(tmp_path: Path, name: str) -> None:
    check_load(WHOLE, tmp_path)
    path = tmp_path / 'ranking.json'
    assert outcome(lambda: Ranking.load(path))[1] is None
    path.write_text(json.dumps({key: value for key, value in DOCUMENT.items() if key != name}))
    assert outcome(lambda: Ranking.load(path), path)[1] is not None


@hostile(250, content=damaged(WHOLE))
def test_damaged_ranking_bytes(tmp_path: Path, content: bytes) -> None:
    check_load(content, tmp_path)


@hostile(350, content=changed_json(DOCUMENT))
@example(content=b'')
@example(content=deep(100_000).encode())
@example(content=b'{"format": ' + deep(100_000, '{"a":', '}').encode())
@example(content=WHOLE.replace(b'7', b'9' * 5000))
@example(content=WHOLE.replace(b'-0.5', b'1e999'))
def test_changed_ranking_entries(tmp_path: Path, content: bytes) -> None:
    check_load(content, tmp_path)


@hostile(100, content=JSON.map(json.dumps).map(str.encode) | st.binary(max_size=200))
def test_anything_as_a_ranking(tmp_path: Path, content: bytes) -> None:
    check_load(content, tmp_path)
    check_from_permutenet(content, tmp_path)


@hostile(100, content=damaged(RELEASED))
def test_damaged_released_lists(tmp_path: Path, content: bytes) -> None:
    check_from_permutenet(content, tmp_path)


@hostile(200, content=changed_json({'overall': [3, 0, 2, 1]}))
@example(content=b'{"": [0]}')
def test_changed_released_lists(tmp_path: Path, content: bytes) -> None:
    check_from_permutenet(content, tmp_path)
