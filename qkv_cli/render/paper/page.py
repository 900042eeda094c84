"""A whole picture on paper: maps, bars, sentences and the caption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qkv_cli.figures import number
from qkv_cli.render.colours import text_on
from qkv_cli.render.paper.drawing import INKS, Boxes, Drawing, Font, Label
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.paper.maps import COLOURS, colour_bar, draw_maps, draw_thumbnails
from qkv_cli.render.plate import Bars, Maps, Plate, Sentence
from qkv_cli.render.terminal.sentence import has_gap
from qkv_cli.render.text import spelled
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import MASKED, levels

LINE, LONGEST = 12.0, 150.0
LABEL, FIGURE, TITLE = Font(8), Font(7), Font(7.5, bold=True)
LEFT = 12.0


def widest_name(parts: Sequence[object]) -> float:
    """Return the width of the longest name of all bar charts, in points."""
    bars = [part for part in parts if isinstance(part, Bars)]
    names = [name for part in bars for name, _ in wrap_lines(part)]
    return max((text_width(name, LABEL) for name in names), default=0.0)


def wrap_lines(part: Bars) -> list[tuple[str, float]]:
    return [*part.rows, *([part.rest] if part.rest else [])]


def draw_bars(drawing: Drawing, part: Bars, theme: Theme, wide: float) -> None:
    """Append a bar chart; names are `wide` points wide."""
    inks = INKS[theme.background]
    signed = any(amount < 0 for _, amount in part.rows)
    colours = theme.colours(signed=signed, n=5)
    drawing.add(Label(x=LEFT, y=drawing.height + 10, text=part.title, font=TITLE, ink=inks.text))
    y = drawing.height + 14
    start = LEFT + wide + 34
    for nth, (name, amount) in enumerate(wrap_lines(part)):
        base = y + LINE / 2 + LABEL.size * 0.36
        is_rest = nth == len(part.rows)
        ink = inks.dim if is_rest else inks.text
        drawing.add(Label(x=LEFT + wide, y=base, text=name, font=LABEL, ink=ink, anchor="right"))
        drawing.add(
            Label(
                x=start - 6, y=base, text=number(amount), font=FIGURE, ink=inks.dim, anchor="right"
            )
        )
        if not is_rest:
            long = LONGEST * abs(amount) / part.top if part.top else 0.0
            colour = colours[1 if amount < 0 else 3]
            drawing.add(Boxes([(start, y + 2, LONGEST, LINE - 4)], colours[2 if signed else 0]))
            drawing.add(Boxes([(start, y + 2, long, LINE - 4)], colour))
        y += LINE
    drawing.height = y + 10
    drawing.width = max(drawing.width, start + LONGEST)


SENTENCE_TITLE, WORD, MARKED = Font(9, bold=True), Font(10), Font(10, bold=True)
LEFT, SENTENCE_LINE, HIGH = 12.0, 20.0, 15.0
PAD, GAP = 2.5, 3.0
LONGEST_WORD = 60
WIDEST = 520.0  # a longer line is hard to read


def draw_sentence(drawing: Drawing, part: Sentence, theme: Theme, room: float) -> None:
    """Append a sentence, on as many lines as needed."""
    inks = INKS[theme.background]
    colours = theme.colours(signed=part.signed, n=COLOURS)
    zero = COLOURS // 2 if part.signed else 0
    levels_of_tokens = levels(part.weights[None], part.top, COLOURS, zero)[0].tolist()
    drawing.add(
        Label(x=LEFT, y=drawing.height + 9, text=part.title, font=SENTENCE_TITLE, ink=inks.text)
    )
    x, y = LEFT, drawing.height + 20
    before = None
    for at, (token, level) in enumerate(zip(part.tokens, levels_of_tokens, strict=True)):
        text = spelled(token, LONGEST_WORD)
        font = MARKED if at == part.marked else WORD
        wide = text_width(text, font) + 2 * PAD
        gap = GAP if before is not None and has_gap(before, token) else 0.4
        if x > LEFT and x + gap + wide > LEFT + min(room, WIDEST):
            x, y = LEFT, y + SENTENCE_LINE
        else:
            x += gap if before is not None else 0
        ink = inks.dim if token.special else inks.text
        if at == part.marked:
            drawing.add(Boxes([(x, y, wide, HIGH)], inks.text))
            drawing.add(Boxes([(x + 0.8, y + 0.8, wide - 1.6, HIGH - 1.6)], inks.ground))
        elif level != MASKED:
            drawing.add(Boxes([(x, y, wide, HIGH)], colours[level]))
            ink = text_on(colours[level])
        drawing.add(
            Label(x=x + PAD, y=y + HIGH / 2 + WORD.size * 0.36, text=text, font=font, ink=ink)
        )
        x += wide
        drawing.width = max(drawing.width, x)
        before = token
    drawing.height = y + HIGH + 4
    if part.top:
        colour_bar(drawing, part, colours, theme, LEFT + 2 * GAP)


MARGIN = 12.0
BETWEEN = 10.0  # points between two parts
NARROWEST = 340.0  # the line height of captions
CAPTION, NAME = Font(7.5), Font(7.5, bold=True)


def lay_out(plate: Plate, theme: Theme, room: float) -> Drawing:
    """Return the drawing of a picture about `room` points wide, or wider if its text needs it."""
    drawing = Drawing(0)
    notes: list[str] = []
    alone = sum(isinstance(part, Maps) for part in plate.parts) == 1
    wide = widest_name(plate.parts)
    x = y = 0.0
    for part in plate.parts:
        part_drawing = Drawing(0, MARGIN)
        if isinstance(part, Bars):
            draw_bars(part_drawing, part, theme, wide)
        elif isinstance(part, Sentence):
            draw_sentence(part_drawing, part, theme, room)
        elif part.small:
            notes += [*part.notes, *draw_thumbnails(part_drawing, part, theme, room)]
        else:
            notes += [*part.notes, *draw_maps(part_drawing, part, theme, room, alone=alone)]
        if x and x + part_drawing.width > room:
            x, y = 0.0, drawing.height
        drawing.place(part_drawing, x, y)
        x += part_drawing.width + BETWEEN
        if isinstance(part, Sentence):  # it is on lines of its own
            x, y = 0.0, drawing.height
    drawing.width = max(drawing.width, NARROWEST) + MARGIN
    statements = [*plate.statements, *dict.fromkeys(notes)]
    _caption(drawing, plate.name, statements, theme)
    drawing.height += MARGIN - 4
    return drawing


def _caption(drawing: Drawing, name: str, statements: Sequence[str], theme: Theme) -> None:
    """Append the caption: the model's name and the sentences, as a paragraph."""
    inks = INKS[theme.background]
    text = ". ".join(thought[:1].upper() + thought[1:] for thought in statements) + "."
    drawing.add(Label(x=MARGIN, y=drawing.height + 10, text=name, font=NAME, ink=inks.text))
    indent = text_width(name, NAME) + 6
    for nth, line in enumerate(_wrapped(text.split(), drawing.width - 2 * MARGIN, indent)):
        y = drawing.height + 10 + nth * CAPTION.size * 1.45
        drawing.add(
            Label(x=MARGIN + (0 if nth else indent), y=y, text=line, font=CAPTION, ink=inks.dim)
        )
        last = y
    drawing.height = last + 4


def _wrapped(words: Iterable[str], width: float, indent: float) -> list[str]:
    """Return lines that fit; the first has less space."""
    wrap_lines, used = [""], indent
    space = text_width(" ", CAPTION)
    for word in words:
        long = text_width(word, CAPTION)
        if wrap_lines[-1] and used + space + long > width:
            wrap_lines.append("")
            used = 0
        wrap_lines[-1] += f" {word}" if wrap_lines[-1] else word
        used += long + space
    return wrap_lines
