from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.strict_json import parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@given(VALUES, st.booleans())
def test_parse_of_text_written_by_json_returns_same_value(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse(text) == value
    assert parse(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1"),
        (b"\xff", "utf-8"),
        (b'{"a": "\xc3"}', "utf-8"),
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "duplicate key 'c'"),
        ("NaN", "NaN is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("1" * 5000, "digits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        (r'"\ud800"', "unpaired surrogate"),
    ],
)
def test_parse_of_invalid_json_raises_one_line_error(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_parse_of_escaped_surrogate_pair_returns_character() -> None:
    assert parse(r'"\ud83d\ude00"') == "😀"
