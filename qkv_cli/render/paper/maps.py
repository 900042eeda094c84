"""Maps on paper: tiles with the same rows, words on both axes, and the colours' bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from qkv_cli.core.tokens import Token
from qkv_cli.render.colour import Rgb, text_on
from qkv_cli.render.paper.drawing import INKS, Box, Boxes, Drawing, Font, Pixels, Words
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.plate import Maps, Panel
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import MASKED, Levels, cell_number, levels, number
from qkv_cli.render.words import spelled

NAME, AXIS = Font(9, bold=True), Font(6.5, italic=True)
QUERY, KEY = "query (who looks)", "key (who is looked at)"
GAP, BAND = 18.0, 20.0  # points between maps beside and above each other
COLOURS = 255  # an odd number: zero is in the middle of signed weights
FEW = 20_000  # cells that are drawn as shapes; more are pixels, or the file would be huge


@dataclass(frozen=True, slots=True)
class Measures:
    """How large cells are, in points."""

    cell: float
    label: Font
    every: int  # which tokens are named: all, or every so many
    left: float  # room of the queries' names
    head: float  # and of the keys'
    tile: float  # of a map with what stands over it
    across: int
    values: bool


def draw_maps(drawing: Drawing, part: Maps, theme: Theme, room: float) -> Iterator[str]:
    """Append the maps; what their notes must say besides comes back."""
    m = measures(part, room)
    level = [_levels(panel, part) for panel in part.panels]
    colours = theme.colours(signed=part.signed, n=COLOURS)
    vector = sum(lev.size for lev in level) <= FEW
    for first in range(0, len(part.panels), m.across):
        tiles = range(first, min(first + m.across, len(part.panels)))
        top = drawing.height + m.head
        _rows(drawing, part, theme, m, top)
        for nth, at in enumerate(tiles):
            x = m.left + nth * (m.tile + GAP)
            _heads(drawing, part, part.panels[at], theme, m, x, top, titled=nth == 0)
            draw = _cells if vector else _pixels
            drawing.items += draw(level[at], colours, m.cell, x, top)
            drawing.items += _borders(part, theme, m, x, top)
            if m.values:
                drawing.items += _numbers(part.panels[at], level[at], colours, m, x, top)
        drawing.height = top + m.cell * len(part.queries) + BAND
        drawing.width = max(drawing.width, m.left + len(tiles) * (m.tile + GAP) - GAP)
    drawing.height -= BAND / 2
    if part.top:
        colour_bar(drawing, part, colours, theme, m.left)
    if m.every > 1:
        yield f"every {_ordinal(m.every)} token is named, with its number"
    if part.values and not m.values:
        yield "the numbers do not fit into so many cells"


def measures(part: Maps, room: float) -> Measures:
    one = len(part.panels) == 1
    n_query, n_key = len(part.queries), len(part.keys)
    n = max(n_query, n_key)
    label = Font(8 if one else 7)
    least = label.size * 1.2
    side, limit, most = (430.0, 1150.0, 30.0) if one else (200.0, 400.0, 17.0)
    if part.values:
        least, most = 17.0, max(most, 20.0)
    cell = min(most, max(side / n, min(least, limit / n)))
    every = ceil(label.size * 1.05 / cell)
    left = _widest(part.queries, label, every) + 23
    head = _widest(part.keys, label, every) + 20
    key_title = text_width(KEY, AXIS)
    named = max(text_width(panel.name, NAME) for panel in part.panels) + key_title + 8
    tile = max(cell * n_key, named)
    fitting = max(1 if one else 2, int((room - left + GAP) // (tile + GAP)))
    bands = ceil(len(part.panels) / fitting)
    across = ceil(len(part.panels) / bands)
    return Measures(cell, label, every, left, head, tile, across, part.values and cell >= 14)


def _widest(tokens: Sequence[Token], font: Font, every: int) -> float:
    return max(text_width(name, font) for name in _names(tokens, every) if name)


def _names(tokens: Sequence[Token], every: int) -> list[str]:
    """What stands at each token; nothing at those between."""
    return [
        "" if at % every else (f"{t.i} " if every > 1 else "") + spelled(t, 20)
        for at, t in enumerate(tokens)
    ]


def _levels(panel: Panel, part: Maps) -> Levels:
    return levels(panel.weights, part.top, COLOURS, COLOURS // 2 if part.signed else 0)


def _rows(drawing: Drawing, part: Maps, theme: Theme, m: Measures, top: float) -> None:
    """The queries' names, which all maps of a band share."""
    inks = INKS[theme.background]
    for row, (name, token) in enumerate(
        zip(_names(part.queries, m.every), part.queries, strict=True)
    ):
        if name:
            y = top + m.cell * (row + 0.5) + m.label.size * 0.36
            ink = inks.dim if token.special else inks.text
            drawing.add(Words(m.left - 5, y, name, m.label, ink, "right"))
    middle = top + m.cell * len(part.queries) / 2
    low = max(middle + text_width(QUERY, AXIS) / 2, top + text_width(QUERY, AXIS))
    low = min(low, top + m.cell * len(part.queries)) if m.head > 80 else low
    drawing.add(Words(11, low, QUERY, AXIS, inks.dim, angle=90))


def _heads(
    drawing: Drawing,
    part: Maps,
    panel: Panel,
    theme: Theme,
    m: Measures,
    x: float,
    top: float,
    *,
    titled: bool,
) -> None:
    """A map's name, and its keys'."""
    inks = INKS[theme.background]
    drawing.add(Words(x, top - m.head + 9, panel.name, NAME, inks.text))
    if titled:
        right = x + m.tile
        drawing.add(Words(right, top - m.head + 8.5, KEY, AXIS, inks.dim, "right"))
    for column, (name, token) in enumerate(zip(_names(part.keys, m.every), part.keys, strict=True)):
        if name:
            at = x + m.cell * (column + 0.5) + m.label.size * 0.36
            ink = inks.dim if token.special else inks.text
            drawing.add(Words(at, top - 5, name, m.label, ink, angle=90))


def _borders(part: Maps, theme: Theme, m: Measures, x: float, top: float) -> Iterator[Boxes]:
    """A line beside the rows, and one over the columns, of the second text of a pair."""
    ink, thick, off = INKS[theme.background].dim, 0.7, 3.2
    rows = [row for row, token in enumerate(part.queries) if token.segment]
    columns = [column for column, token in enumerate(part.keys) if token.segment]
    if rows:
        yield Boxes([(x - off, top + m.cell * rows[0], thick, m.cell * len(rows))], ink)
    if columns:
        yield Boxes([(x + m.cell * columns[0], top - off, m.cell * len(columns), thick)], ink)


def _cells(
    level: Levels, colours: Sequence[Rgb], cell: float, x: float, top: float
) -> Iterator[Boxes]:
    """A shape for each colour, of all the cells that have it."""
    gap = 0.5 if cell >= 8 else 0.0
    for value in np.unique(level[level != MASKED]).tolist():
        boxes: list[Box] = [
            (x + column * cell + gap / 2, top + row * cell + gap / 2, cell - gap, cell - gap)
            for row, column in np.argwhere(level == value).tolist()
        ]
        yield Boxes(boxes, colours[value])


def _pixels(
    level: Levels, colours: Sequence[Rgb], cell: float, x: float, top: float
) -> Iterator[Pixels]:
    table = np.array([(*colour, 255) for colour in colours] + [(0, 0, 0, 0)], dtype=np.uint8)
    n_query, n_key = level.shape
    yield Pixels((x, top, cell * n_key, cell * n_query), table[level])  # MASKED is the last


def _numbers(
    panel: Panel, level: Levels, colours: Sequence[Rgb], m: Measures, x: float, top: float
) -> Iterator[Words]:
    font = Font(min(7.0, m.cell * 0.36))
    for row, column in np.argwhere(level != MASKED).tolist():
        ink = text_on(colours[level[row, column]])
        text = cell_number(float(panel.weights[row, column]))
        at = x + m.cell * (column + 0.5), top + m.cell * (row + 0.5) + font.size * 0.36
        yield Words(*at, text, font, ink, "center")


def colour_bar(
    drawing: Drawing, part: Maps, colours: Sequence[Rgb], theme: Theme, x: float
) -> None:
    """The colours from least to most, with the weights they stand for."""
    inks, font = INKS[theme.background], Font(7)
    width, height, steps = 150.0, 7.0, 75
    y = drawing.height + 6
    low = number(-part.top) if part.signed else "0"
    drawing.add(Words(x - 4, y + 6, low, font, inks.dim, "right"))
    for step in range(steps):
        colour = colours[round(step * (len(colours) - 1) / (steps - 1))]
        drawing.add(Boxes([(x + step * width / steps, y, width / steps + 0.2, height)], colour))
    drawing.add(Words(x + width + 4, y + 6, number(part.top), font, inks.dim))
    said = "difference" if part.signed else "weight"
    drawing.add(Words(x + width + 26, y + 6, said, Font(7, italic=True), inks.dim))
    drawing.height = y + height + 8


def _ordinal(n: int) -> str:
    return {2: "second", 3: "third"}.get(n, f"{n}th")
