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
# After a right-to-left word, so a terminal that reorders text does not reorder what follows.
LEFT_TO_RIGHT = "\u200e"
_MAX_MARKS = 2  # more of them on one letter would reach into the lines above
_DOTTED_CIRCLE = "◌"
_REGIONAL_A = 0x1F1E6


@lru_cache(maxsize=4096)
def label(text: str, width: int | None = None) -> str:
    """Return token text for one line, cut to a width in cells with an ellipsis."""
    clusters = _clusters(text)
    if width is not None and sum(map(cell_len, clusters)) > width:
        clusters = _cut(clusters, width)
    escaped = "".join(clusters)
    return escaped + LEFT_TO_RIGHT if any(map(_is_rtl, escaped)) else escaped


def clusters(text: str) -> list[str]:
    """Return the characters of a label, each one or two cells wide, for vertical labels."""
    return [c + LEFT_TO_RIGHT if any(map(_is_rtl, c)) else c for c in _clusters(text)]


def aligned(text: str, width: int, *, right: bool = False) -> str:
    """Pad text to exactly `width` cells."""
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
    # Joiners and selectors alone would be invisible.
    return tuple(clusters or text.encode("unicode_escape", "surrogatepass").decode())


def _signs(text: str) -> Iterator[str]:
    """Yield the escaped form of each character."""
    is_joined = False  # a zero-width joiner: the next character belongs to the one before
    for char in text:
        code, kind = ord(char), unicodedata.category(char)
        if char == "\u200d":
            is_joined = True
            continue
        if 0xFE00 <= code <= 0xFE0F or 0x1F3FB <= code <= 0x1F3FF or code == 0x20E3:
            continue  # a variation or skin tone of the character before
        if is_joined and kind in ("So", "Sk"):
            is_joined = False
            continue
        is_joined = False
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
    """Return a token's label, followed by ? if the model does not know it."""
    if not token.unknown:
        return label(token.name, width)
    return label(token.name, None if width is None else max(0, width - 1)) + UNKNOWN[:width]


def spelled(token: Token, length: int | None = None) -> str:
    """Return a token's text for paper and browsers: as written, with whole emoji and accents.

    Control and invisible characters are escaped as in `word`.
    """
    text = token.name
    spelling = "".join(
        c if c in _JOINERS or (c.isprintable() and c != " ") else label(c) for c in text
    )
    if not spelling.strip(_JOINERS):
        spelling = label(text)
    if length is not None and len(spelling) > length:
        spelling = spelling[: length - 1] + ELLIPSIS
    return spelling + UNKNOWN * token.unknown


def widest(tokens: Sequence[Token]) -> int:
    return max(cell_len(word(token)) for token in tokens)


def vertical_label(token: Token, height: int) -> list[str]:
    """Return a token's characters from top to bottom, at most `height`, aligned to the map."""
    signs = clusters(token.name) + [UNKNOWN] * token.unknown
    if len(signs) > height:
        signs = [*signs[: height - 1], "⋮" if height > 1 else ELLIPSIS]
    return [""] * (height - len(signs)) + signs


def distinct_words(tokens: Sequence[Token], width: int) -> list[str]:
    """Return labels for a sentence; repeated words get their index as a subscript."""
    return with_indices(tokens, [word(token, width) for token in tokens])


def with_indices(tokens: Sequence[Token], said: Sequence[str]) -> list[str]:
    """Return the names of tokens, with the index after names that are not unique."""
    often = Counter(text.casefold() for text in said)
    return [
        text + str(token.i).translate(_SUBSCRIPT) if often[text.casefold()] > 1 else text
        for token, text in zip(tokens, said, strict=True)
    ]
