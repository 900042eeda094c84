"""Fonts that have the signs of a text, and how wide it is in them."""

from __future__ import annotations

import logging
from functools import lru_cache

from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.textpath import text_to_path

from qkv_cli.render.paper.drawing import Font
from qkv_cli.visible import visible

# That a foreign font has no bold cut is nothing that a reader can change.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

# Both come with matplotlib, so that a picture is the same on every machine.
SANS, MONO = "DejaVu Sans", "DejaVu Sans Mono"


def properties(text: str, font: Font) -> FontProperties:
    """The font of a text, with others behind it for the signs that it lacks."""
    first = [MONO, SANS] if font.mono else [SANS]
    return FontProperties(
        family=[*first, *_others(_foreign(text))],
        weight="bold" if font.bold else "normal",
        style="italic" if font.italic else "normal",
        size=font.size,
    )


def text_width(text: str, font: Font) -> float:
    """Points."""
    return _width_at_10(visible(text), font.bold, font.mono) * font.size / 10


@lru_cache(maxsize=8192)
def _width_at_10(text: str, bold: bool, mono: bool) -> float:
    font = properties(text, Font(10, bold, mono))
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def _foreign(text: str) -> frozenset[str]:
    """The signs that no Latin font is sure to have."""
    return frozenset(c for c in text if c > "\u024f" and not _ours(c))


@lru_cache(maxsize=8192)
def _ours(char: str) -> bool:
    return bool(get_font(fontManager.findfont(SANS)).get_char_index(ord(char)))


@lru_cache(maxsize=1024)
def _others(signs: frozenset[str]) -> tuple[str, ...]:
    """Families of this machine that have the signs, those that have most of them first."""
    missing, chosen = set(signs), []
    while missing:
        covered = {name: missing & _covers(path, signs) for name, path in _plain_fonts()}
        best = max(covered, key=lambda name: len(covered[name]), default="")
        if not best or not covered[best]:
            break
        chosen.append(best)
        missing -= covered[best]
    return tuple(chosen)


@lru_cache(maxsize=4096)
def _covers(path: str, signs: frozenset[str]) -> frozenset[str]:
    font = get_font(path)
    return frozenset(c for c in signs if font.get_char_index(ord(c)))


@lru_cache(maxsize=1)
def _plain_fonts() -> tuple[tuple[str, str], ...]:
    """Name and path of every upright font of this machine; Noto Sans, made for all, first."""
    fonts = {
        font.name: font.fname
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight == 400 and font.stretch == "normal"
    }
    return tuple(
        sorted(fonts.items(), key=lambda item: (not item[0].startswith("Noto Sans"), item))
    )
