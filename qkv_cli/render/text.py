"""Token text for pictures: escaped, measured in terminal cells, and distinct where words repeat."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from rich.cells import cell_len

from qkv_cli.core.tokens import Token
from qkv_cli.visible import is_visible

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
    fitting: list[str] = []
    room = width - cell_len(ELLIPSIS)
    for sign in signs:
        room -= cell_len(sign)
        if room < 0:
            break
        fitting.append(sign)
    return (*fitting, ELLIPSIS) if width > 0 else ()


@lru_cache(maxsize=4096)
def _clusters(text: str) -> tuple[str, ...]:
    clusters: list[str] = []
    marks = 0
    for char in _signs(unicodedata.normalize("NFC", text)):
        if not unicodedata.combining(char) and cell_len(char):
            clusters.append(char)
            marks = 0
        elif (marks := marks + 1) <= _MAX_MARKS:
            if not clusters:
                clusters.append(_DOTTED_CIRCLE)
            clusters[-1] += char
    # Joiners and selectors alone would leave nothing to see.
    return tuple(clusters or text.encode("unicode_escape", "surrogatepass").decode())


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


UNKNOWN = "?"
_JOINERS = "\u200c\u200d\ufe0f"
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def word(token: Token, width: int | None = None) -> str:
    """A token's label; a question mark behind it says that the model does not know it."""
    if not token.unknown:
        return label(token.name, width)
    return label(token.name, None if width is None else max(0, width - 1)) + UNKNOWN[:width]


def spelled(token: Token, length: int | None = None) -> str:
    """A token's text where fonts are real: as it was written, joined emoji and accents whole.

    What acts or is invisible is shown as in `word`.
    """
    text = token.name
    shown = "".join(
        c if c in _JOINERS or (c.isprintable() and c != " ") else label(c) for c in text
    )
    if not shown.strip(_JOINERS):
        shown = label(text)
    if length is not None and len(shown) > length:
        shown = shown[: length - 1] + ELLIPSIS
    return shown + UNKNOWN * token.unknown


def widest(tokens: Sequence[Token]) -> int:
    return max(cell_len(word(token)) for token in tokens)


def downwards(token: Token, height: int) -> list[str]:
    """A token's signs from top to bottom, as many as `height`, standing on the map."""
    signs = clusters(token.name) + [UNKNOWN] * token.unknown
    if len(signs) > height:
        signs = [*signs[: height - 1], "⋮" if height > 1 else ELLIPSIS]
    return [""] * (height - len(signs)) + signs


def told_apart(tokens: Sequence[Token], width: int) -> list[str]:
    """Words for a sentence: those that stand more than once bear their place."""
    return apart(tokens, [word(token, width) for token in tokens])


def apart(tokens: Sequence[Token], said: Sequence[str]) -> list[str]:
    """What tokens are called, with its place behind each that is called as another is."""
    often = Counter(text.casefold() for text in said)
    return [
        text + str(token.i).translate(_SUBSCRIPT) if often[text.casefold()] > 1 else text
        for token, text in zip(tokens, said, strict=True)
    ]
