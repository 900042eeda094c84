"""A whole picture on paper: its parts, and the caption under them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qkv_cli.render.paper.bars import draw_bars, widest_name
from qkv_cli.render.paper.drawing import INKS, Drawing, Font, Words
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.paper.maps import draw_maps
from qkv_cli.render.paper.sentence import draw_sentence
from qkv_cli.render.paper.thumbnails import draw_thumbnails
from qkv_cli.render.plate import Bars, Maps, Plate, Sentence
from qkv_cli.render.theme import Theme

MARGIN = 12.0
BETWEEN = 10.0  # points between two parts, beside each other where both fit
NARROWEST = 340.0  # a caption's lines
CAPTION, NAME = Font(7.5), Font(7.5, bold=True)


def drawn(plate: Plate, theme: Theme, room: float) -> Drawing:
    """A picture that is about as wide as `room`, in points, or as wide as its text needs."""
    drawing = Drawing(0)
    notes: list[str] = []
    alone = sum(isinstance(part, Maps) for part in plate.parts) == 1
    wide = widest_name(plate.parts)
    x = y = 0.0
    for part in plate.parts:
        made = Drawing(0, MARGIN)
        if isinstance(part, Bars):
            draw_bars(made, part, theme, wide)
        elif isinstance(part, Sentence):
            draw_sentence(made, part, theme, room)
        elif part.small:
            notes += [*part.notes, *draw_thumbnails(made, part, theme, room)]
        else:
            notes += [*part.notes, *draw_maps(made, part, theme, room, alone=alone)]
        if x and x + made.width > room:
            x, y = 0.0, drawing.height
        drawing.place(made, x, y)
        x += made.width + BETWEEN
        if isinstance(part, Sentence):  # it has its lines for itself
            x, y = 0.0, drawing.height
    drawing.width = max(drawing.width, NARROWEST) + MARGIN
    said = [*plate.said, *dict.fromkeys(notes)]
    _caption(drawing, plate.name, said, theme)
    drawing.height += MARGIN - 4
    return drawing


def _caption(drawing: Drawing, name: str, said: Sequence[str], theme: Theme) -> None:
    """The model's name, then everything else, as a paragraph."""
    inks = INKS[theme.background]
    text = ". ".join(thought[:1].upper() + thought[1:] for thought in said) + "."
    drawing.add(Words(MARGIN, drawing.height + 10, name, NAME, inks.text))
    indent = text_width(name, NAME) + 6
    for nth, line in enumerate(_wrapped(text.split(), drawing.width - 2 * MARGIN, indent)):
        y = drawing.height + 10 + nth * CAPTION.size * 1.45
        drawing.add(Words(MARGIN + (0 if nth else indent), y, line, CAPTION, inks.dim))
        last = y
    drawing.height = last + 4


def _wrapped(words: Iterable[str], width: float, indent: float) -> list[str]:
    """Lines that fit; the first has less room."""
    lines, used = [""], indent
    space = text_width(" ", CAPTION)
    for word in words:
        long = text_width(word, CAPTION)
        if lines[-1] and used + space + long > width:
            lines.append("")
            used = 0
        lines[-1] += f" {word}" if lines[-1] else word
        used += long + space
    return lines
