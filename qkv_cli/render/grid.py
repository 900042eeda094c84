"""Levels as lines of cells: runs of one ink are one segment, so that long texts draw fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style

from qkv_cli.core.arrays import Array
from qkv_cli.render.inks import ASCII_DOT, DOT, Ink, Ramp
from qkv_cli.render.layout import GAP
from qkv_cli.render.weights import MASKED, Levels, cell_number

Line = list[Segment]


def whole_cells(levels: Levels, ramp: Ramp, width: int) -> list[Line]:
    """A line for each row, `width` columns a cell."""
    cells = [(ink.cell(width), ink.style) for ink in ramp.inks]
    cells.append((" " * width, Style.null()))  # MASKED is the last
    return [
        [Segment(cells[level][0] * length, cells[level][1]) for level, length in _runs(row)]
        for row in levels
    ]


def below(line: Line) -> Line:
    """The second line of a cell that is two lines high: its dot stands in the first alone."""
    blank = str.maketrans({DOT: " ", ASCII_DOT: " "})
    return [Segment(segment.text.translate(blank), segment.style) for segment in line]


def half_blocks(levels: Levels, ramp: Ramp) -> list[Line]:
    """A line for each two rows, one column a cell; a missing last row is left bare."""
    if len(levels) % 2:
        levels = np.vstack([levels, np.full((1, levels.shape[1]), MASKED)])
    n = len(ramp.inks) + 1
    pairs = levels[0::2] % n * n + levels[1::2] % n
    made = {pair: _half(divmod(pair, n), ramp.inks) for pair in np.unique(pairs).tolist()}
    return [
        [Segment(made[pair][0] * length, made[pair][1]) for pair, length in _runs(row)]
        for row in pairs
    ]


def _half(pair: tuple[int, int], inks: Sequence[Ink]) -> tuple[str, Style]:
    upper, lower = (inks[level].style.bgcolor if level < len(inks) else None for level in pair)
    if upper is not None:
        return "▀", Style(color=upper, bgcolor=lower)
    return ("▄", Style(color=lower)) if lower is not None else (" ", Style.null())


def numbered_cells(levels: Levels, weights: Array, ramp: Ramp, width: int) -> list[Line]:
    """The weights themselves, in cells of their ink; shades stand beside them."""
    texts = [["" if isnan(x) else cell_number(x) for x in row] for row in weights.tolist()]
    longest = max(len(text) for row in texts for text in row)
    apart = " " if any("-" in text for row in texts for text in row) else ""
    bare = Segment(" " * width, Style.null())
    return [
        [
            _numbered(ramp.inks[level], text.rjust(longest), width, apart) if text else bare
            for level, text in zip(row, numbers, strict=True)
        ]
        for row, numbers in zip(levels.tolist(), texts, strict=True)
    ]


def _numbered(ink: Ink, text: str, width: int, apart: str) -> Segment:
    if ink.glyph == " ":
        return Segment(text.center(width), ink.number)
    return Segment((ink.glyph + apart + text).ljust(width), ink.number)


def _runs(row: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """(level, how many of it) along a row."""
    starts = np.flatnonzero(np.diff(row, prepend=row[0] - 1))
    lengths = np.diff(starts, append=len(row))
    return zip(row[starts].tolist(), lengths.tolist(), strict=True)


def beside(label: Line, cells: Sequence[Line], tile: int, between: int = GAP) -> Line:
    """A line of a band: the label, then each map's cells in its tile."""
    line = list(label)
    for nth, segments in enumerate(cells):
        used = sum(segment.cell_length for segment in segments)
        gap = between if nth < len(cells) - 1 else 0
        line += [*segments, Segment(" " * (tile - used + gap))]
    return line


def trimmed(lines: Iterator[Line] | Sequence[Line]) -> Iterator[Segment]:
    """The lines without the blanks at their ends that nobody sees."""
    for line in lines:
        while line and not (line[-1].text.strip() or _ground(line[-1])):
            line = line[:-1]
        if line and not _ground(line[-1]):
            line = [*line[:-1], Segment(line[-1].text.rstrip(), line[-1].style)]
        yield from line
        yield Segment.line()


def _ground(segment: Segment) -> bool:
    return segment.style is not None and segment.style.bgcolor is not None
