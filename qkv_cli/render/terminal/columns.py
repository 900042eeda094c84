"""Columns of numbers, coloured by magnitude, bars and sparklines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from qkv_cli.render.text import ELLIPSIS, aligned
from qkv_cli.render.theme import Theme

INDENT = "   "
DIM, BOLD = Style(dim=True), Style(bold=True)
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Row:
    """A label and its numbers; a total has a rule above it."""

    label: str  # safe to print
    numbers: Sequence[Decimal]
    total: bool = False
    strong: bool = False


def figure(number: Decimal) -> str:
    """Return a number as printed, without a leading zero; -∞ if it is masked."""
    return f"{number:f}".replace("0.", ".", number.copy_abs() < 1) if number.is_finite() else "-∞"


def fitting(labels: Sequence[str], rows: Sequence[Sequence[Decimal]], width: int) -> int:
    """Return how many columns of numbers fit next to the labels."""
    room = width - len(INDENT) - max(map(cell_len, labels)) - 2
    n_columns = len(rows[0])
    return max(1, min(n_columns, (room + 2) // (_cell(rows) + 2)))


def number_rows(heads: Sequence[str], rows: Sequence[Row], theme: Theme) -> list[Text]:
    """Return a line of column heads, and a line for each row."""
    cell = max(_cell([row.numbers for row in rows]), *map(cell_len, heads))
    wide = max(cell_len(row.label) for row in rows)
    top = max((abs(n) for row in rows for n in row.numbers), default=Decimal(0))
    first = Text(INDENT + " " * wide, DIM)
    for head in heads:
        first.append("  " + aligned(head, cell, right=True))
    lines = [first]
    for row in rows:
        if row.total:
            rule = ("  " + "─" * cell) * len(heads)
            lines.append(Text(INDENT + " " * wide + rule, DIM))
        line = Text(INDENT).append(aligned(row.label, wide), BOLD if row.strong else "")
        for number in row.numbers:
            style = number_style(theme, number, top)
            line.append("  ").append(aligned(figure(number), cell, right=True), style)
        lines.append(line)
    return lines


def number_style(theme: Theme, number: Decimal, top: Decimal) -> Style:
    """Return the style of a signed number, from 0 to `top`."""
    ramp = theme.pixels(signed=True)
    if theme.depth is None or not top or not number.is_finite():
        return Style.null()
    span = len(ramp.inks) - 1 - ramp.zero
    return ramp.inks[ramp.zero + round(float(number / top) * span)].number


def bar(number: Decimal, top: Decimal, width: int, theme: Theme) -> Text:
    """Return a bar of a number's length; negative numbers have another colour and hatching."""
    if not top or not number.is_finite() or width < 1:
        return Text()
    eighths = round(float(abs(number) / top) * width * 8)
    n_full, part = divmod(eighths, 8)
    if number < 0:
        blocks = "▒" * (n_full + (part >= 4))
    else:
        blocks = "█" * n_full + (_EIGHTHS[part] if part else "")
    return Text(blocks, _bar_style(theme, negative=number < 0))


def _bar_style(theme: Theme, *, negative: bool) -> Style:
    ramp = theme.pixels(signed=True)
    if theme.depth is None:
        return Style.null()
    arm = ramp.zero * 2 // 3
    return Style(color=ramp.inks[ramp.zero - arm if negative else ramp.zero + arm].style.bgcolor)


def sparkline(numbers: Sequence[float], theme: Theme, width: int) -> Text:
    """Return a vector as a sparkline, one character per component, with zero in the middle.
    An ellipsis marks components that do not fit.
    """
    is_cut = len(numbers) > width
    numbers = list(numbers[: width - 1 if is_cut else width])
    top = max((abs(n) for n in numbers), default=0.0) or 1.0
    line = Text()
    for n in numbers:
        level = min(7, int((n / top + 1) * 4))
        line.append("▁▂▃▄▅▆▇█"[level], _bar_style(theme, negative=n < 0))
    return line.append(ELLIPSIS) if is_cut else line


def _cell(rows: Sequence[Sequence[Decimal]]) -> int:
    return max(len(figure(n)) for row in rows for n in row)
