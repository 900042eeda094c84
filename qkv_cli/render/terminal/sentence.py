"""A text as written, with words shaded by weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.render.colours import DOT
from qkv_cli.render.text import UNKNOWN, label
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import MASKED, levels

_DIM = Style(dim=True)


@dataclass(frozen=True, slots=True)
class _Word:
    text: str  # its displayed form
    gap: bool  # whether there is a space before it
    level: int
    special: bool
    marked: bool


def shaded(
    tokens: Sequence[Token],
    weights: Array,
    top: float,
    theme: Theme,
    width: int,
    *,
    signed: bool,
    marked: int | None = None,
) -> Iterator[Text]:
    """Yield lines of words on coloured backgrounds or, without colour, above lines of shades.

    Args:
        weights: [n_tokens], NaN where there is none.
        top: The weight of the last ink.
        signed: Whether weights can be negative.
        marked: The token in brackets.
    """
    ramp = theme.pixels(signed=signed)
    level = levels(weights[None], top, len(ramp.inks), ramp.zero)[0].tolist()
    words = _words(tokens, level, marked, width)
    for line in _lines(words, width):
        row, below = Text(no_wrap=True, overflow="crop"), ""
        for nth, word in enumerate(line):
            gap = " " if nth and word.gap else ""
            ink = None if word.level == MASKED else ramp.inks[word.level]
            style = Style(bold=word.marked)
            if theme.depth is None or ink is None:
                style += _DIM if word.special else Style.null()
            else:
                style += ink.number
            row.append(gap).append(word.text, style)
            glyph = " " if ink is None or ink.glyph == DOT else ink.glyph
            below += gap + glyph * cell_len(word.text)
        yield row
        if theme.depth is None and below.strip():
            yield Text(below.rstrip(), no_wrap=True, overflow="crop")


def _words(
    tokens: Sequence[Token], level: Sequence[int], marked: int | None, width: int
) -> Iterator[_Word]:
    before: Token | None = None
    for at, token in enumerate(tokens):
        text = token.text.strip() or token.name
        if before is not None and _is_one_character(before, token):
            text = DOT  # another byte of it
        name = label(text, max(1, width - 3)) + UNKNOWN * token.unknown
        yield _Word(
            text=f"[{name}]" if at == marked else name,
            gap=before is None or has_gap(before, token),
            level=level[at],
            special=token.special,
            marked=at == marked,
        )
        before = token


def has_gap(before: Token, token: Token) -> bool:
    """Whether there is a space between two tokens, which may be part of one of them."""
    if before.special or token.special:
        return True
    if _is_one_character(before, token):
        return False
    if token.start != before.end:  # of a second text, it may be smaller
        return True
    return before.text[-1:].isspace() or token.text[:1].isspace()


def _is_one_character(before: Token, token: Token) -> bool:
    """Whether two tokens are parts of the same character."""
    places = (before.start, before.end), (token.start, token.end)
    return places[0] == places[1] and token.start < token.end and not token.special


def _lines(words: Iterator[_Word], width: int) -> Iterator[list[_Word]]:
    """Yield lines of words; adjacent words without a space stay on one line if possible."""
    line: list[_Word] = []
    room = width
    for word in words:
        needed = cell_len(word.text) + (1 if line and word.gap else 0)
        if line and needed > room:
            yield line
            line, room = [], width
            needed = cell_len(word.text)
        line.append(word)
        room -= needed
    if line:
        yield line
