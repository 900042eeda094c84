"""Any picture of the terminal as a page in a monospaced font, character by character."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style

from qkv_cli.render.colours import Rgb
from qkv_cli.render.encoding import UTF_8, Safe
from qkv_cli.render.paper.drawing import INKS, Boxes, Drawing, Font, Inks, Label
from qkv_cli.render.text import LEFT_TO_RIGHT
from qkv_cli.render.theme import Theme

SIZE, LINE, MARGIN = 8.0, 10.5, 12.0
COLUMN = SIZE * 0.602  # the width of a character of DejaVu Sans Mono
# Bars are drawn as boxes, since fonts leave gaps between block characters.
_WIDE = "█▉▊▋▌▍▎▏"  # eighths of a column, from the full one down
_HIGH = "▁▂▃▄▅▆▇"  # eighths of a line, upwards
_SHADES = "░▒▓"  # quarters of ink
_BLOCKS = _WIDE + _HIGH + _SHADES


def typeset(picture: RenderableType, theme: Theme, columns: int) -> Drawing:
    """Return the drawing of a picture's lines, with each word at its column."""
    inks = INKS[theme.background]
    lines = lines_of(picture, columns)
    widest = max((sum(s.cell_length for s in line) for line in lines), default=1)
    drawing = Drawing(2 * MARGIN + COLUMN * widest, MARGIN)
    for line in lines:
        column = 0
        for segment in line:
            x = MARGIN + COLUMN * column
            drawing.items += _segment(segment, x, drawing.height, inks)
            column += segment.cell_length
        drawing.height += LINE
    drawing.height += MARGIN
    return drawing


def lines_of(picture: RenderableType, columns: int) -> list[list[Segment]]:
    """Return the lines that a terminal would show, without trailing spaces."""
    console = Console(
        width=columns,
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        no_color=False,
    )
    lines = console.render_lines(Safe(picture, UTF_8), console.options, pad=False)
    visible_lines = [[s for s in line if not s.control] for line in lines]
    for line in visible_lines:
        while line and not line[-1].text.strip() and not (line[-1].style or Style()).bgcolor:
            line.pop()
    return visible_lines


def _segment(segment: Segment, x: float, y: float, inks: Inks) -> Iterator[Boxes | Label]:
    style = segment.style or Style.null()
    ink, ground = colours(style, inks)
    if ground is not None:
        yield Boxes([(x, y, COLUMN * segment.cell_length, LINE)], ground)
    font = Font(SIZE, bold=bool(style.bold), mono=True, italic=bool(style.italic))
    signs = rf"[{_WIDE}]+|[{_HIGH}]|[{_SHADES}]+|[^\s{_BLOCKS}]+"
    for match in re.finditer(signs, segment.text):
        at = x + COLUMN * cell_len(segment.text[: match.start()])
        if match[0][0] in _BLOCKS:
            yield _block(match[0], at, y, ink, ground or inks.ground)
        elif text := match[0].replace(LEFT_TO_RIGHT, ""):  # a mark for bidirectional text
            yield Label(x=at, y=y + LINE / 2 + SIZE * 0.36, text=text, font=font, ink=ink)


def _block(signs: str, x: float, y: float, ink: Rgb, ground: Rgb) -> Boxes:
    """Return the boxes of a run of equal block characters."""
    top, high = y + 1.5, LINE - 3
    if signs[0] in _WIDE:
        eighths = sum(8 - _WIDE.index(sign) for sign in signs)
        return Boxes([(x, top, COLUMN * eighths / 8, high)], ink)
    if signs[0] in _HIGH:
        share = (_HIGH.index(signs) + 1) / 8
        return Boxes([(x, top + high * (1 - share), COLUMN, high * share)], ink)
    share = (_SHADES.index(signs[0]) + 1) / 4
    red, green, blue = (
        round(a * share + b * (1 - share)) for a, b in zip(ink, ground, strict=True)
    )
    return Boxes([(x, top, COLUMN * len(signs), high)], (red, green, blue))


def colours(style: Style, inks: Inks) -> tuple[Rgb, Rgb | None]:
    """Return the text colour of a style, and its background if it has one."""
    ink = _rgb(style.color, inks) or (inks.dim if style.dim else inks.text)
    ground = _rgb(style.bgcolor, inks)
    if style.reverse:
        return ground or inks.ground, ink
    return ink, ground


def _rgb(colour: Color | None, inks: Inks) -> Rgb | None:
    if colour is None or colour.is_default:
        return None
    red, green, blue = colour.get_truecolor(inks.sixteen)
    return red, green, blue
