"""Hostile values and damaged bytes, for all kinds of input."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD_TEXTS = ['', ' ', '\n', '\0', '\r\n', '\u2028', ',', '"', "'", '../..', '/', 'ä', '\ud800', '\u202e', '%s', '{}']
ODD_TEXTS += ['a' * 5000, '9' * 5000, '-0', 'nan', '1e999', '__class__', 'None', '=', 'a=b', '[[[[']
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(max_size=8)
NUMBERS = (
    st.sampled_from([0, -1, 1, 2**31, 2**63, 10**9, -(10**9), 10**30, 10**400, 0.5, -0.0, 1e308, 5e-324])
    | st.integers()
    | st.floats()
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with one to three of: flipped, overwritten, cut out, cut off, inserted, repeated."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(['flip', 'set', 'cut', 'truncate', 'insert', 'repeat']))
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        if kind == 'flip' and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == 'set' and content:
            values = draw(st.binary(min_size=1, max_size=8))
            content[place : place + len(values)] = values
        elif kind == 'cut':
            del content[place : place + draw(st.integers(1, 64))]
        elif kind == 'truncate':
            del content[place:]
        elif kind == 'insert':
            content[place:place] = draw(st.binary(min_size=1, max_size=16) | st.sampled_from([b'\0' * 64, b'\xff\xfe']))
        else:
            content[place:place] = content[place : place + draw(st.integers(1, 64))]
    return bytes(content)


def deep(depth: int, opening: str = '[', closing: str = ']') -> str:
    """JSON nested so deep that a recursive reader runs out of stack."""
    return opening * depth + closing * depth


def places(document: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value in a JSON document."""
    yield path
    if isinstance(document, dict | list):
        for key in document if isinstance(document, dict) else range(len(document)):
            yield from places(document[key], (*path, key))


@st.composite
def changed_json(draw: st.DrawFn, document: Any) -> bytes:
    """A JSON document, one or two of whose values are replaced, removed, renamed or given twice."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from([path for path in places(document) if path] or [()]))
        if not path:
            return json.dumps(draw(JSON)).encode()
        owner = document
        for key in path[:-1]:
            owner = owner[key]
        kind = draw(st.sampled_from(['replace', 'replace', 'remove', 'add', 'deep']))
        if kind == 'replace':
            owner[path[-1]] = draw(JSON)
        elif kind == 'remove':
            del owner[path[-1]]
        elif kind == 'add' and isinstance(owner, dict):
            owner[draw(TEXTS)] = draw(JSON)
        elif kind == 'add':
            owner.insert(path[-1], draw(JSON))
        else:
            owner[path[-1]] = '@deep@'
    text = json.dumps(document)
    if draw(st.integers(0, 9)) == 0 and text.startswith('{"'):
        text = '{' + text[1:-1] + ', ' + text[1:]  # every key twice
    return text.replace('"@deep@"', deep(draw(st.sampled_from([50, 900, 100_000])))).encode()
