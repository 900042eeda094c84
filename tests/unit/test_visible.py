from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv_cli.visible import visible

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200f\u061c"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("naïve café — 日本語 👩‍👩‍👧 ❤️ שלום", "naïve café — 日本語 👩‍👩‍👧 ❤️ שלום"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\r\nb\tc\x07\x7f\x9b", r"a\r\nb\tc\x07\x7f\x9b"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("a\u2028b\u2029\u200b\ufeff", r"a\u2028b\u2029\u200b\ufeff"),
        ("\ud800", r"\ud800"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("", ""),
    ],
)
def test_visible_escapes_control_and_invisible_characters(text: str, escaped: str) -> None:
    assert visible(text) == escaped


@given(st.text())
def test_visible_of_any_text_has_no_control_characters(text: str) -> None:
    escaped = visible(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in escaped)
    assert not set(BIDI) & set(escaped)
    assert visible(escaped) == escaped
    escaped.encode()


@given(st.text(max_size=200), st.integers(20, 50))
def test_visible_with_limit_keeps_beginning_and_end(text: str, limit: int) -> None:
    unlimited, limited = visible(text), visible(text, limit)
    assert len(limited) <= limit
    if len(unlimited) > limit:
        start, end = limited.split(" ... ", 1) if limited.count(" ... ") == 1 else ("", "")
        assert unlimited.startswith(start) and unlimited.endswith(end)


def test_visible_with_keep_leaves_those_characters() -> None:
    assert visible("a\n\tb", keep="\n") == "a\n\\tb"
