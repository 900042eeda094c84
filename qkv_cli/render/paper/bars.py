"""Figures as bars on paper."""

from __future__ import annotations

from qkv_cli.render.paper.drawing import INKS, Boxes, Drawing, Font, Words
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.plate import Bars
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import number

LINE, LONGEST = 12.0, 150.0
LABEL, FIGURE, TITLE = Font(8), Font(7), Font(7.5, bold=True)
LEFT = 12.0


def draw_bars(drawing: Drawing, part: Bars, theme: Theme) -> None:
    """Append a line for each figure."""
    inks = INKS[theme.background]
    colours = theme.colours(signed=False, n=5)
    drawing.add(Words(LEFT, drawing.height + 10, part.title, TITLE, inks.text))
    y = drawing.height + 14
    names = LEFT + max((text_width(name, LABEL) for name, _ in part.rows), default=0.0)
    start = names + 34
    for name, amount in part.rows:
        base = y + LINE / 2 + LABEL.size * 0.36
        drawing.add(Words(names, base, name, LABEL, inks.text, "right"))
        drawing.add(Words(start - 6, base, number(amount), FIGURE, inks.dim, "right"))
        long = LONGEST * amount / part.top if part.top else 0.0
        drawing.add(Boxes([(start, y + 2, LONGEST, LINE - 4)], colours[0]))
        drawing.add(Boxes([(start, y + 2, long, LINE - 4)], colours[-2]))
        y += LINE
    drawing.height = y + 10
    drawing.width = max(drawing.width, start + LONGEST)
