"""Property tests of ranking files: whatever a file holds, it loads whole or is refused with its path and the reason."""

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmposenc.ranking import Ranking

FILE_SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@FILE_SETTINGS
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(ranking, tmp_path, share):
    path = tmp_path / 'ranking.json'
    ranking.save(path)
    whole = path.read_text().rstrip()
    path.write_text(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r'ranking.json is not JSON, or is cut short'):
        Ranking.load(path)


@FILE_SETTINGS
@given(
    name=st.sampled_from([item.name for item in dataclasses.fields(Ranking)] + ['format', 'num_channels']), value=JSON
)
def test_any_entry_replaced_by_anything_loads_whole_or_is_refused(ranking, tmp_path, name, value):
    path = tmp_path / 'ranking.json'
    ranking.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    message = None
    try:
        loaded = Ranking.load(path)
    except ValueError as error:
        message = str(error)
    if message is not None:
        assert message.startswith(f'{path} is not a whole ranking file: ')
    else:
        assert sorted(loaded.order) == list(range(loaded.num_channels))
        assert dataclasses.replace(loaded, **{name: getattr(ranking, name)}) == ranking


@FILE_SETTINGS
@given(document=JSON)
def test_any_other_json_is_refused(tmp_path, document):
    path = tmp_path / 'ranking.json'
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match='is not a whole ranking file: it must be a JSON object with format'):
        Ranking.load(path)
    path.write_text(json.dumps([document]))
    with pytest.raises(ValueError, match='is not a list of the released code: it must be a JSON object with one key'):
        Ranking.from_permutenet(path, 'backbone[-1]')
    path.write_text(json.dumps({'overall': [document, document]}))
    with pytest.raises(ValueError, match='is not a list of the released code: overall must hold each channel'):
        Ranking.from_permutenet(path, 'backbone[-1]')
