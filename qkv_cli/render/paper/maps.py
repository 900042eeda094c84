"""Head maps on paper: tiles with axis labels, thumbnails and colour bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.figures import cell_number, number
from qkv_cli.render.colours import Rgb, text_on
from qkv_cli.render.paper.drawing import INKS, Box, Boxes, Drawing, Font, Label, Pixels
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.plate import Maps, Sentence
from qkv_cli.render.text import spelled
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import MASKED, Levels, levels

COLOURS = 255  # odd, so zero is the middle of signed weights
FEW = 20_000  # cells that are drawn as shapes; more would make the file huge


def in_levels(weights: Array, part: Maps) -> Levels:
    return levels(weights, part.top, COLOURS, COLOURS // 2 if part.signed else 0)


def cells(
    level: Levels, colours: Sequence[Rgb], side: float, x: float, top: float, *, shapes: bool
) -> Iterator[Boxes | Pixels]:
    """Add the cells of a map at x, top, each `side` wide and high."""
    if not shapes:
        table = np.array([(*colour, 255) for colour in colours] + [(0, 0, 0, 0)], dtype=np.uint8)
        n_query, n_key = level.shape
        yield Pixels((x, top, side * n_key, side * n_query), table[level])  # MASKED is the last
        return
    gap = 0.5 if side >= 8 else 0.0
    for value in np.unique(level[level != MASKED]).tolist():
        boxes: list[Box] = [
            (x + column * side + gap / 2, top + row * side + gap / 2, side - gap, side - gap)
            for row, column in np.argwhere(level == value).tolist()
        ]
        yield Boxes(boxes, colours[value])


def colour_bar(
    drawing: Drawing, part: Maps | Sentence, colours: Sequence[Rgb], theme: Theme, x: float
) -> None:
    """Add a colour bar with the smallest and largest weight."""
    inks, font = INKS[theme.background], Font(7)
    width, height, steps = 150.0, 7.0, 75
    y = drawing.height + 6
    low = number(-part.top) if part.signed else "0"
    drawing.add(Label(x=x - 4, y=y + 6, text=low, font=font, ink=inks.dim, anchor="right"))
    for step in range(steps):
        colour = colours[round(step * (len(colours) - 1) / (steps - 1))]
        x_done = step * width / steps  # each box reaches to the end, so there is no seam
        drawing.add(Boxes([(x + x_done, y, width - x_done, height)], colour))
    drawing.add(Label(x=x + width + 4, y=y + 6, text=number(part.top), font=font, ink=inks.dim))
    name = part.quantity.noun
    unit, x_unit = Font(7, italic=True), x + width + 26
    drawing.add(Label(x=x_unit, y=y + 6, text=name, font=unit, ink=inks.dim))
    drawing.width = max(drawing.width, x_unit + text_width(name, unit))
    drawing.height = y + height + 8


NAME, AXIS = Font(9, bold=True), Font(6.5, italic=True)
GAP, BAND = 18.0, 20.0  # points between maps, horizontally and vertically
LONGEST_WORD = 20
RISE = 0.36  # of the font size: from the middle of letters to their baseline


@dataclass(frozen=True, slots=True)
class Measures:
    """The sizes of a picture, in points."""

    cell: float
    label: Font
    every: int  # the step between labelled tokens
    left: float  # the space of row labels
    head: float  # and of column labels
    tile: float  # of a map including its labels
    across: int
    numbers: bool


def draw_maps(
    drawing: Drawing, part: Maps, theme: Theme, room: float, *, alone: bool
) -> Iterator[str]:
    """Append the maps, and return additional notes.

    Args:
        alone: Whether the picture has no other maps.
    """
    m = measures(part, room, large=alone and len(part.panels) == 1)
    tiles = Tiles(drawing=drawing, part=part, theme=theme, m=m)
    for first in range(0, len(part.panels), m.across):
        tiles.band(range(first, min(first + m.across, len(part.panels))))
    drawing.height -= BAND / 2
    if part.top:
        colours = theme.colours(signed=part.signed, n=COLOURS)
        colour_bar(drawing, part, colours, theme, m.left)
    if m.every > 1:
        yield _labels_note(part, m.every)
    if part.numbers and not m.numbers:
        yield "too many cells for the numbers"


def measures(part: Maps, room: float, *, large: bool) -> Measures:
    """Choose the cell size: as large as useful, but a long text makes a larger picture."""
    n_query, n_key = len(part.row_tokens), len(part.column_tokens)
    n = max(n_query, n_key)
    label = Font(8 if large else 7)
    min_size = label.size * 1.2
    side, limit, max_size = (430.0, 1150.0, 30.0) if large else (200.0, 400.0, 17.0)
    if part.numbers:
        min_size, max_size = 17.0, max(max_size, 20.0)
    cell = min(max_size, max(side / n, min(min_size, limit / n)))
    every = ceil(label.size * 1.05 / cell)
    left = _widest(part.row_tokens, label, every) + 23
    head = max(
        _widest(part.column_tokens, label, every) + 20,
        text_width(part.quantity.query, AXIS) - cell * n_query + 4,
    )
    titled = (
        max(text_width(p.name, NAME) for p in part.panels) + text_width(part.quantity.key, AXIS) + 8
    )
    tile = max(cell * n_key, titled)
    fitting = max(min(2, len(part.panels)), int((room - left + GAP) // (tile + GAP)))
    bands = ceil(len(part.panels) / fitting)
    across = ceil(len(part.panels) / bands)
    return Measures(
        cell=cell,
        label=label,
        every=every,
        left=left,
        head=head,
        tile=tile,
        across=across,
        numbers=part.numbers and cell >= 14,
    )


def _widest(tokens: Sequence[Token], font: Font, every: int) -> float:
    return max(text_width(name, font) for name in _names(tokens, every) if name)


def _names(tokens: Sequence[Token], every: int) -> list[str]:
    """Return the label of each token; empty for those without a label."""
    return [
        "" if at % every else (f"{t.i} " if every > 1 else "") + spelled(t, LONGEST_WORD)
        for at, t in enumerate(tokens)
    ]


@dataclass(frozen=True, slots=True)
class Tiles:
    """Appends maps to a drawing, one band at a time."""

    drawing: Drawing
    part: Maps
    theme: Theme
    m: Measures

    def band(self, which: range) -> None:
        """Append maps next to each other, with their names above."""
        drawing, part, m = self.drawing, self.part, self.m
        colours = self.theme.colours(signed=part.signed, n=COLOURS)
        top = drawing.height + m.head
        n_rows, n_columns = len(part.row_tokens), len(part.column_tokens)
        shapes = len(part.panels) * n_rows * n_columns <= FEW
        self._rows(top)
        for nth, at in enumerate(which):
            x = m.left + nth * (m.tile + GAP)
            self._heads(part.panels[at].name, x, top, titled=nth == 0)
            level = in_levels(part.panels[at].weights, part)
            drawing.items += cells(level, colours, m.cell, x, top, shapes=shapes)
            drawing.items += self._borders(x, top)
            if m.numbers:
                drawing.items += self._numbers(at, level, colours, x, top)
        drawing.height = top + m.cell * n_rows + BAND
        drawing.width = max(drawing.width, m.left + len(which) * (m.tile + GAP) - GAP)

    def _rows(self, top: float) -> None:
        """Append the row labels, which all maps of a band share."""
        inks, m, queries = INKS[self.theme.background], self.m, self.part.row_tokens
        for row, name in enumerate(_names(queries, m.every)):
            if name:
                y = top + m.cell * (row + 0.5) + m.label.size * RISE
                ink = inks.dim if queries[row].special else inks.text
                self.drawing.add(
                    Label(x=m.left - 5, y=y, text=name, font=m.label, ink=ink, anchor="right")
                )
        query = self.part.quantity.query
        long, high = text_width(query, AXIS), m.cell * len(queries)
        # If it is longer than the map, it extends next to the column labels.
        low = top + (high + long) / 2 if high > long else top + high
        self.drawing.add(Label(x=11, y=low, text=query, font=AXIS, ink=inks.dim, angle=90))

    def _heads(self, name: str, x: float, top: float, *, titled: bool) -> None:
        """Append a map's name and its column labels."""
        inks, m, keys = INKS[self.theme.background], self.m, self.part.column_tokens
        self.drawing.add(Label(x=x, y=top - m.head + 9, text=name, font=NAME, ink=inks.text))
        if titled:
            at = x + m.tile, top - m.head + 8.5
            self.drawing.add(Label(*at, self.part.quantity.key, AXIS, inks.dim, "right"))
        for column, key in enumerate(_names(keys, m.every)):
            if key:
                right = x + m.cell * (column + 0.5) + m.label.size * RISE
                ink = inks.dim if keys[column].special else inks.text
                self.drawing.add(
                    Label(x=right, y=top - 5, text=key, font=m.label, ink=ink, angle=90)
                )

    def _borders(self, x: float, top: float) -> Iterator[Boxes]:
        """Append lines next to the rows and columns of the second sentence of a pair."""
        cell, ink, thick, off = self.m.cell, INKS[self.theme.background].dim, 0.7, 3.2
        rows = _second_text(self.part.queries, self.part.blocks[0])
        columns = _second_text(self.part.keys, self.part.blocks[1])
        if rows:
            yield Boxes([(x - off, top + cell * rows[0], thick, cell * len(rows))], ink)
        if columns:
            yield Boxes([(x + cell * columns[0], top - off, cell * len(columns), thick)], ink)

    def _numbers(
        self, at: int, level: Levels, colours: Sequence[Rgb], x: float, top: float
    ) -> Iterator[Label]:
        """Append the numbers in the cells."""
        m, weights = self.m, self.part.panels[at].weights
        font = Font(min(7.0, m.cell * 0.36))
        for row, column in np.argwhere(level != MASKED).tolist():
            ink = text_on(colours[level[row, column]])
            middle = x + m.cell * (column + 0.5)
            y = top + m.cell * (row + 0.5) + font.size * RISE
            text = cell_number(float(weights[row, column]))
            yield Label(x=middle, y=y, text=text, font=font, ink=ink, anchor="center")


def _second_text(tokens: Sequence[Token], block: int) -> list[int]:
    """Return the rows or columns with tokens of the second sentence of a pair."""
    return sorted({at // block for at, token in enumerate(tokens) if token.segment})


def _labels_note(part: Maps, every: int) -> str:
    """Say which tokens are labelled, if only every nth row and column is."""
    query, key = (ordinal(every * block) for block in part.blocks)
    if query == key:
        return f"every {query} token is labelled, with its number"
    return f"every {query} query and every {key} key are labelled, with their numbers"


def ordinal(n: int) -> str:
    if n in (2, 3):
        return {2: "second", 3: "third"}[n]
    ending = "th" if n // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{ending}"


THUMBNAIL_NAME, LAYER, SIGNS = Font(6.5), Font(7.5, bold=True), Font(7, bold=True)
LEFT, THUMBNAIL_GAP, HEAD = 36.0, 7.0, 10.0
SMALLEST, LARGEST = 34.0, 90.0  # the side of a thumbnail, in points
SHAPES = 40_000  # small shapes stay sharp where pixels would blur


def draw_thumbnails(drawing: Drawing, part: Maps, theme: Theme, room: float) -> Iterator[str]:
    """Append a thumbnail for each map, and return additional notes."""
    inks = INKS[theme.background]
    colours = theme.colours(signed=part.signed, n=COLOURS)
    heads = sorted({-1 if p.head is None else p.head for p in part.panels})
    layers = list(dict.fromkeys(p.layer for p in part.panels))
    n = max(len(part.row_tokens), len(part.column_tokens))
    tile = min(LARGEST, max(SMALLEST, (room - LEFT) / len(heads) - THUMBNAIL_GAP))
    side = tile / n
    shapes = len(part.panels) * n**2 <= SHAPES
    for panel in part.panels:
        x = LEFT + heads.index(-1 if panel.head is None else panel.head) * (tile + THUMBNAIL_GAP)
        y = drawing.height + layers.index(panel.layer) * (tile + HEAD + 4) + HEAD
        name = "mean" if panel.head is None else f"H{panel.head}"
        drawing.add(Label(x=x, y=y - 2.5, text=name, font=THUMBNAIL_NAME, ink=inks.dim))
        drawing.add(
            Label(
                x=x + tile, y=y - 2.5, text=panel.signs, font=SIGNS, ink=inks.text, anchor="right"
            )
        )
        level = in_levels(panel.weights, part)
        drawing.items += cells(level, colours, side, x, y, shapes=shapes)
    for row, layer in enumerate(layers):
        y = drawing.height + row * (tile + HEAD + 4) + HEAD + tile / 2 + 3
        drawing.add(
            Label(x=LEFT - 8, y=y, text=f"L{layer}", font=LAYER, ink=inks.text, anchor="right")
        )
    drawing.height += len(layers) * (tile + HEAD + 4) + 2
    drawing.width = max(drawing.width, LEFT + len(heads) * (tile + THUMBNAIL_GAP) - THUMBNAIL_GAP)
    if part.top:
        colour_bar(drawing, part, colours, theme, LEFT)
    yield "layers down, heads across; rows (queries) attend to columns (keys)"
