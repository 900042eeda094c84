"""Weights as cells on paper: shapes where they are few, pixels where they are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.render.colour import Rgb
from qkv_cli.render.paper.drawing import INKS, Box, Boxes, Drawing, Font, Pixels, Words
from qkv_cli.render.paper.fonts import text_width
from qkv_cli.render.plate import Maps, Sentence
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import MASKED, Levels, levels, number

COLOURS = 255  # an odd number: zero is in the middle of signed weights
FEW = 20_000  # cells of a picture that are drawn as shapes; more would make the file huge


def in_levels(weights: Array, part: Maps) -> Levels:
    return levels(weights, part.top, COLOURS, COLOURS // 2 if part.signed else 0)


def cells(
    level: Levels, colours: Sequence[Rgb], side: float, x: float, top: float, *, shapes: bool
) -> Iterator[Boxes | Pixels]:
    """A map whose upper left is at x, top; its cells are `side` wide and high."""
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
    """The colours from least to most, with the weights they stand for."""
    inks, font = INKS[theme.background], Font(7)
    width, height, steps = 150.0, 7.0, 75
    y = drawing.height + 6
    low = number(-part.top) if part.signed else "0"
    drawing.add(Words(x - 4, y + 6, low, font, inks.dim, "right"))
    for step in range(steps):
        colour = colours[round(step * (len(colours) - 1) / (steps - 1))]
        done = step * width / steps  # each reaches to the end, so that no seam shows
        drawing.add(Boxes([(x + done, y, width - done, height)], colour))
    drawing.add(Words(x + width + 4, y + 6, number(part.top), font, inks.dim))
    said = part.what.one
    unit, at = Font(7, italic=True), x + width + 26
    drawing.add(Words(at, y + 6, said, unit, inks.dim))
    drawing.width = max(drawing.width, at + text_width(said, unit))
    drawing.height = y + height + 8
