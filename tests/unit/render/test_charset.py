"""Replacements for characters that an encoding lacks: readable, and of the same width."""

from __future__ import annotations

import pytest

from qkv_cli.render.encoding import UTF_8, Charset
from qkv_cli.render.theme import Theme

ASCII = Charset("ascii")


def encode(charset: Charset, *parts: str) -> str:
    return "".join(charset.replaced(parts))


def test_charset_utf_8_leaves_text_unchanged() -> None:
    assert encode(UTF_8, "é → 犬", "  -∞\n") == "é → 犬  -∞\n"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("bank → river", "bank > river"),
        ("the₄", "the4"),
        ("Q Kᵀ", "Q KT"),
        ("café e\u0301", "cafe e"),
        ("犬 [", "?? ["),  # two columns stay two columns
        ("▁▂▃▄▅▆▇█", "_.,-~+*#"),
    ],
)
def test_charset_ascii_writes_nearest_equivalent(text: str, plain: str) -> None:
    assert encode(ASCII, text) == plain


def test_charset_wider_substitute_consumes_following_spaces() -> None:
    assert encode(ASCII, "√d      = 4\n", "a       = 4\n") == "sqrt d  = 4\na       = 4\n"
    assert encode(ASCII, "√d", "      ", "= 4") == "sqrt d  = 4"


def test_charset_infinity_consumes_preceding_spaces() -> None:
    assert encode(ASCII, "a     -∞   -0.5") == "a   -inf   -0.5"


def test_charset_cp1252_keeps_characters_that_it_contains() -> None:
    assert encode(Charset("cp1252"), "é · → …") == "é · > …"


def test_theme_in_ascii_has_distinct_shades_for_each_sign() -> None:
    ramp = Theme(charset=ASCII).ramp(signed=True)
    glyphs = [ink.glyph for ink in ramp.inks]
    assert "".join(glyphs).isascii()
    assert len(set(glyphs)) == len(glyphs)
    assert glyphs[ramp.zero] == "."


@pytest.mark.parametrize("depth", ["truecolor", "256", "standard"])
def test_theme_with_colour_in_ascii_uses_no_block_characters(depth) -> None:
    theme = Theme(depth, charset=ASCII)
    assert not theme.half_blocks
    assert all(ink.glyph in " ." for ink in theme.ramp().inks)
