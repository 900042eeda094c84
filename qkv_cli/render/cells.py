"""Token text as it may stand on a terminal: nothing in it acts, and its width is certain.

Text comes from anywhere. Control characters, escapes and what is invisible are shown as
pictures or as escapes. Terminals disagree on the width of joined emoji, so only their
first sign stands; an accent stays with its letter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from rich.cells import cell_len

from qkv_cli.core.visible import is_visible

ELLIPSIS = "…"
# Behind a right-to-left word: a terminal that reorders text may turn the word, never what follows.
LEFT_TO_RIGHT = "\u200e"
_MAX_MARKS = 2  # more of them on one letter climb into the lines above
_DOTTED_CIRCLE = "◌"
_REGIONAL_A = 0x1F1E6


def label(text: str, width: int | None = None) -> str:
    """Token text for one line, cut to a width in cells; an ellipsis says that it was cut."""
    clusters = _clusters(text)
    if width is not None and sum(map(cell_len, clusters)) > width:
        clusters = _cut(clusters, width)
    shown = "".join(clusters)
    return shown + LEFT_TO_RIGHT if any(map(_is_rtl, shown)) else shown


def clusters(text: str) -> list[str]:
    """The same, sign by sign, each one or two cells wide: for writing downwards."""
    return [c + LEFT_TO_RIGHT if any(map(_is_rtl, c)) else c for c in _clusters(text)]


def aligned(text: str, width: int, *, right: bool = False) -> str:
    """Displayable text in exactly `width` cells."""
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _cut(signs: tuple[str, ...], width: int) -> tuple[str, ...]:
    kept: list[str] = []
    room = width - cell_len(ELLIPSIS)
    for sign in signs:
        room -= cell_len(sign)
        if room < 0:
            break
        kept.append(sign)
    return (*kept, ELLIPSIS) if width > 0 else ()


@lru_cache(maxsize=4096)
def _clusters(text: str) -> tuple[str, ...]:
    found: list[str] = []
    marks = 0
    for char in _signs(unicodedata.normalize("NFC", text)):
        if not unicodedata.combining(char) and cell_len(char):
            found.append(char)
            marks = 0
        elif (marks := marks + 1) <= _MAX_MARKS:
            if not found:
                found.append(_DOTTED_CIRCLE)
            found[-1] += char
    # Joiners and selectors alone would leave nothing to see.
    return tuple(found or text.encode("unicode_escape", "surrogatepass").decode())


def _signs(text: str) -> Iterator[str]:
    """One by one, what is shown for each character."""
    joined = False  # by a zero-width joiner: what follows is part of the sign before
    for char in text:
        code, kind = ord(char), unicodedata.category(char)
        if char == "\u200d":
            joined = True
            continue
        if 0xFE00 <= code <= 0xFE0F or 0x1F3FB <= code <= 0x1F3FF or code == 0x20E3:
            continue  # another look or skin of the sign before
        if joined and kind in ("So", "Sk"):
            joined = False
            continue
        joined = False
        if _REGIONAL_A <= code < _REGIONAL_A + 26:  # half a flag
            yield chr(ord("A") + code - _REGIONAL_A)
        elif kind == "Zs":
            yield "·"
        elif code < 0x20:
            yield chr(0x2400 + code)
        elif code == 0x7F:
            yield "␡"
        elif not is_visible(char) or not (kind[0] == "M" or cell_len(char)):
            yield from char.encode("unicode_escape", "surrogatepass").decode()
        else:
            yield char


def _is_rtl(char: str) -> bool:
    return unicodedata.bidirectional(char) in ("R", "AL", "AN")
