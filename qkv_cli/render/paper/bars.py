"""Figures as bars on paper."""

from __future__ import annotations

from collections.abc import Sequence

from qkv_cli.render.paper.drawing import INKS, Boxes, Drawing, Font, Words
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.plate import Bars
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import number

LINE, LONGEST = 12.0, 150.0
LABEL, FIGURE, TITLE = Font(8), Font(7), Font(7.5, bold=True)
LEFT = 12.0


def widest_name(parts: Sequence[object]) -> float:
    """Points of the longest name in any of the bars among the parts."""
    found = [part for part in parts if isinstance(part, Bars)]
    names = [name for part in found for name, _ in lines(part)]
    return max((text_width(name, LABEL) for name in names), default=0.0)


def lines(part: Bars) -> list[tuple[str, float]]:
    return [*part.rows, *([part.rest] if part.rest else [])]


def draw_bars(drawing: Drawing, part: Bars, theme: Theme, wide: float) -> None:
    """Append a line for each figure; names are `wide` points wide."""
    inks = INKS[theme.background]
    signed = any(amount < 0 for _, amount in part.rows)
    colours = theme.colours(signed=signed, n=5)
    drawing.add(Words(LEFT, drawing.height + 10, part.title, TITLE, inks.text))
    y = drawing.height + 14
    start = LEFT + wide + 34
    for nth, (name, amount) in enumerate(lines(part)):
        base = y + LINE / 2 + LABEL.size * 0.36
        rest = nth == len(part.rows)
        ink = inks.dim if rest else inks.text
        drawing.add(Words(LEFT + wide, base, name, LABEL, ink, "right"))
        drawing.add(Words(start - 6, base, number(amount), FIGURE, inks.dim, "right"))
        if not rest:
            long = LONGEST * abs(amount) / part.top if part.top else 0.0
            shown = colours[1 if amount < 0 else 3]
            drawing.add(Boxes([(start, y + 2, LONGEST, LINE - 4)], colours[2 if signed else 0]))
            drawing.add(Boxes([(start, y + 2, long, LINE - 4)], shown))
        y += LINE
    drawing.height = y + 10
    drawing.width = max(drawing.width, start + LONGEST)
