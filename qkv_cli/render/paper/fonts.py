"""Fonts for the characters of a text, and the width of the text."""

from __future__ import annotations

import logging
from functools import lru_cache

from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.textpath import text_to_path

from qkv_cli.render.paper.drawing import Font
from qkv_cli.visible import visible

# A missing bold style of a fallback font is not worth a warning.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

# Both come with matplotlib, so a picture is the same on every machine.
SANS, MONO = "DejaVu Sans", "DejaVu Sans Mono"


def properties(text: str, font: Font) -> FontProperties:
    """Return the font of a text, with fallbacks for characters that it lacks."""
    first = [MONO, SANS] if font.mono else [SANS]
    return FontProperties(
        family=[*first, *_others(_foreign(text))],
        weight="bold" if font.bold else "normal",
        style="italic" if font.italic else "normal",
        size=font.size,
    )


def text_width(text: str, font: Font) -> float:
    """Return the width of a text in points."""
    return _width_at_10(visible(text), font.bold, font.mono) * font.size / 10


@lru_cache(maxsize=8192)
def _width_at_10(text: str, bold: bool, mono: bool) -> float:
    font = properties(text, Font(10, bold, mono))
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def _foreign(text: str) -> frozenset[str]:
    """Return the characters that a Latin font may lack."""
    return frozenset(c for c in text if c > "\u024f" and not _ours(c))


@lru_cache(maxsize=8192)
def _ours(char: str) -> bool:
    return bool(get_font(fontManager.findfont(SANS)).get_char_index(ord(char)))


@lru_cache(maxsize=1024)
def _others(signs: frozenset[str]) -> tuple[str, ...]:
    """Return installed families that have the characters, those with most of them first."""
    missing, fonts = set(signs), []
    while missing:
        covered = {name: missing & _covers(path, signs) for name, path in _plain_fonts()}
        best = max(covered, key=lambda name: len(covered[name]), default="")
        if not best or not covered[best]:
            break
        fonts.append(best)
        missing -= covered[best]
    return tuple(fonts)


@lru_cache(maxsize=4096)
def _covers(path: str, signs: frozenset[str]) -> frozenset[str]:
    font = get_font(path)
    return frozenset(c for c in signs if font.get_char_index(ord(c)))


@lru_cache(maxsize=1)
def _plain_fonts() -> tuple[tuple[str, str], ...]:
    """Return the names and paths of installed upright fonts, Noto Sans first."""
    fonts = {
        font.name: font.fname
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight == 400 and font.stretch == "normal"
    }
    return tuple(
        sorted(fonts.items(), key=lambda item: (not item[0].startswith("Noto Sans"), item))
    )
