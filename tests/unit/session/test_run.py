"""Checks of a text before a model runs on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qkv_cli.errors import InputError
from qkv_cli.session import run as reading
from qkv_cli.session.load import load


@pytest.mark.parametrize(
    ("text", "source", "cells"),
    [
        ("mango apple tree", None, 4 * 3 * 3),  # four heads, three queries, three keys
        ("mango apple", "river bank money", 4 * 2 * 3),
    ],
)
def test_read_of_too_many_weights_is_refused(
    tiny_glove: Path, monkeypatch: pytest.MonkeyPatch, text: str, source: str | None, cells: int
) -> None:
    loaded = load(tiny_glove)
    monkeypatch.setattr(reading, "MAX_CELLS", cells)
    assert len(loaded.read(text, source).queries) == len(text.split())
    monkeypatch.setattr(reading, "MAX_CELLS", cells - 1)
    with pytest.raises(
        InputError, match=rf"make {cells} weights per layer; the maximum is {cells - 1}, "
    ):
        loaded.read(text, source)


def test_read_of_too_long_a_text_names_the_maximum_length(
    tiny_glove: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_CELLS", 4 * 3 * 3 - 1)
    with pytest.raises(InputError, match=r"or 2 tokens of one text\.$"):
        load(tiny_glove).read("mango apple tree")
