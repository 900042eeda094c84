"""A sentence on paper, each word on the colour of its weight."""

from __future__ import annotations

from qkv_cli.render.colour import text_on
from qkv_cli.render.paper.cells import COLOURS, colour_bar
from qkv_cli.render.paper.drawing import INKS, Boxes, Drawing, Font, Words
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.plate import Sentence
from qkv_cli.render.sentence import apart
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import MASKED, levels
from qkv_cli.render.words import spelled

TITLE, WORD, MARKED = Font(9, bold=True), Font(10), Font(10, bold=True)
LEFT, LINE, HIGH = 12.0, 20.0, 15.0
PAD, GAP = 2.5, 3.0
LONGEST_WORD = 60
WIDEST = 520.0  # a longer line is hard to read


def draw_sentence(drawing: Drawing, part: Sentence, theme: Theme, room: float) -> None:
    """Append the words, in as many lines as they need."""
    inks = INKS[theme.background]
    colours = theme.colours(signed=part.signed, n=COLOURS)
    zero = COLOURS // 2 if part.signed else 0
    found = levels(part.weights[None], part.top, COLOURS, zero)[0].tolist()
    drawing.add(Words(LEFT, drawing.height + 9, part.title, TITLE, inks.text))
    x, y = LEFT, drawing.height + 20
    before = None
    for at, (token, level) in enumerate(zip(part.tokens, found, strict=True)):
        text = spelled(token, LONGEST_WORD)
        font = MARKED if at == part.marked else WORD
        wide = text_width(text, font) + 2 * PAD
        gap = GAP if before is not None and apart(before, token) else 0.4
        if x > LEFT and x + gap + wide > LEFT + min(room, WIDEST):
            x, y = LEFT, y + LINE
        else:
            x += gap if before is not None else 0
        ink = inks.dim if token.special else inks.text
        if at == part.marked:
            drawing.add(Boxes([(x, y, wide, HIGH)], inks.text))
            drawing.add(Boxes([(x + 0.8, y + 0.8, wide - 1.6, HIGH - 1.6)], inks.ground))
        elif level != MASKED:
            drawing.add(Boxes([(x, y, wide, HIGH)], colours[level]))
            ink = text_on(colours[level])
        drawing.add(Words(x + PAD, y + HIGH / 2 + WORD.size * 0.36, text, font, ink))
        x += wide
        drawing.width = max(drawing.width, x)
        before = token
    drawing.height = y + HIGH + 4
    if part.top:
        colour_bar(drawing, part, colours, theme, LEFT + 2 * GAP)
