"""Maps as tiles of terminal cells: their size, their labels and their lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.figures import cell_number
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.render.colours import ASCII_DOT, DOT, Ink, Ramp
from qkv_cli.render.text import aligned, downwards, word
from qkv_cli.render.weights import MASKED, Levels

GAP = 3  # columns between two maps
MAX_CELL = 6  # columns; wider cells do not read better
MAX_HEAD = {"one": 14, "tiles": 6}  # letters of a key that is written downwards
MAX_LABEL = {"one": 18, "tiles": 12}
LARGE = 16  # queries that are drawn in whole cells even if only one map fits across
OVERVIEW = 32  # columns of a pooled map that has others beside it
MAX_WORD = 8  # cells of a word that shares its line with another


LabelStyle = Literal["across", "in turn", "down", "ruler"]


@dataclass(frozen=True, slots=True)
class TileLayout:
    """The measures of a picture, in terminal cells.

    Attributes:
        cell: Columns a key and lines a query take; half a line is one query of two that
            share a line as half blocks.
        blocks: Queries x keys that are pooled into one cell.
        across: Maps beside each other.
        tile: Columns of a map, its name included.
        gutter: Columns of the row labels, the space behind them included.
        heads: How columns are named: words across, on two lines in turn where one is too
            narrow, words downwards, or a ruler of numbers.
        head_lines: Lines that the heads take.
        last_index: The largest number that a row or a column bears.
    """

    cell: tuple[int, int]
    half: bool
    blocks: tuple[int, int]
    across: int
    tile: int
    gutter: int
    label_style: LabelStyle
    head_lines: int
    last_index: int


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be drawn, and how much room there is."""

    n_maps: int
    n_query: int
    n_key: int
    query_width: int  # of the widest label
    line_width: int  # of the widest label where two rows share a line
    key_width: int
    last_key_width: int
    name_width: int  # of the longest map name
    number_width: int  # 0: no numbers are written into the cells
    width: int
    colour: bool
    half_blocks: bool  # two rows can share a line
    last_index: int

    @property
    def size(self) -> Literal["one", "tiles"]:
        return "one" if self.n_maps == 1 else "tiles"


def plan_tiles(r: Request) -> TileLayout:
    """Whole cells if they fit, else half blocks or cells of one column, else an overview."""
    return _whole_cells(r) or _small_cells(r)


def _whole_cells(r: Request) -> TileLayout | None:
    gutter = min(r.query_width, MAX_LABEL[r.size], r.width // 3) + 1
    room = r.width - gutter
    least = max(2, r.number_width + 1 if r.number_width else 0)
    fitting = _fitting(room, max(least * r.n_key, r.name_width))
    # Several maps of a longer text are easier to compare small and side by side.
    if fitting < (1 if r.n_query <= LARGE or r.number_width else min(2, r.n_maps)):
        return None
    across = _balanced(r.n_maps, fitting)
    widest = (room - GAP * (across - 1)) // across // r.n_key
    columns = max(least, min(widest, MAX_CELL))
    shaded = r.number_width and not r.colour  # a number beside its shade, not on it
    label_style: LabelStyle = "down"
    head_lines = min(r.key_width, MAX_HEAD[r.size])
    if r.key_width + 1 <= min(widest, MAX_LABEL["one"]):
        columns, label_style, head_lines = max(columns, r.key_width + 1), "across", 1
    elif r.key_width + 1 <= 2 * columns and columns >= 4:
        label_style, head_lines = "in turn", 2
    lines = 2 if columns >= 4 and r.n_query <= LARGE + 4 and not shaded else 1
    tile = max(columns * r.n_key, r.name_width)
    if label_style == "in turn":  # every name has the room of two columns, the last too if it can
        wider = max(tile, columns * (r.n_key - 1) + r.last_key_width)
        tile = wider if wider * across + GAP * (across - 1) <= room else tile
    cell = (columns, lines)
    return TileLayout(
        cell, False, (1, 1), across, tile, gutter, label_style, head_lines, r.last_index
    )


def _small_cells(r: Request) -> TileLayout:
    digits = len(str(r.last_index))
    label = r.line_width if r.half_blocks else min(r.query_width, MAX_WORD)
    gutter = min(digits + 1 + label, r.width // 3) + 1
    # Without half blocks several maps are an overview where they would be one with them: a
    # line for each row, and one map above the other, is more than anyone scrolls through.
    widest_label = r.line_width if r.n_maps > 1 else label
    label_width = min(digits + 1 + widest_label, r.width // 3) + 1
    fitting = _fitting(r.width - max(gutter, label_width), max(r.n_key, r.name_width))
    whole = TileLayout((1, 1), r.half_blocks, (1, 1), 1, r.n_key, gutter, "ruler", 1, r.last_index)
    if fitting:
        across = _balanced(r.n_maps, fitting)
        return replace(whole, across=across, tile=max(r.n_key, r.name_width))
    gutter = min(digits + 1 + min(r.query_width, MAX_WORD), r.width // 3) + 1
    room = max(1, r.width - gutter)
    across = _balanced(r.n_maps, max(1, _fitting(room, OVERVIEW)))
    tile = max(1, (room - GAP * (across - 1)) // across)
    keys = -(-r.n_key // tile)
    # A handful of queries over a long source keep a line each.
    queries = min(keys, -(-r.n_query // (tile * 2 // 3 + 1)))
    return replace(whole, blocks=(queries, keys), across=across, tile=tile, gutter=gutter)


def _fitting(room: int, tile: int) -> int:
    return max(0, (room + GAP) // (tile + GAP))


def _balanced(n_maps: int, fitting: int) -> int:
    """Maps a band, so that the last band is not left with one: 8 where 7 fit are 4 and 4."""
    bands = -(-n_maps // fitting)
    return -(-n_maps // bands)


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
    halves = {pair: _half(divmod(pair, n), ramp.inks) for pair in np.unique(pairs).tolist()}
    return [
        [Segment(halves[pair][0] * length, halves[pair][1]) for pair, length in _runs(row)]
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


_DIM, _PLAIN = Style(dim=True), Style.null()


def column_labels(maps: HeadMaps, layout: TileLayout) -> list[Line]:
    """What stands above each map, so that a column can be told from the next."""
    second = _second(maps.keys)
    if second is None:
        return _names(maps, layout)
    block, columns = layout.blocks[1], layout.cell[0]
    first, last = second // block, -(-len(maps.keys) // block)
    rule = " " * columns * first + "─" * columns * (last - first)
    return [*_names(maps, layout), [Segment(rule, _DIM)]]


def _second(tokens: Sequence[Token]) -> int | None:
    """Where the second text of a pair begins."""
    return next((i for i, token in enumerate(tokens) if token.segment), None)


def _names(maps: HeadMaps, layout: TileLayout) -> list[Line]:
    columns, _ = layout.cell
    if layout.label_style == "across":
        names = (word(key, columns - 1) for key in maps.keys)
        return [[Segment(" ".join(aligned(name, columns - 1) for name in names))]]
    if layout.label_style == "in turn":
        return [_in_turn(maps.keys, columns, first, layout.tile) for first in (0, 1)]
    if layout.label_style == "down":
        height = layout.head_lines
        signs = [downwards(key, height) for key in maps.keys]
        return [
            [Segment("".join(_centred(s[line], columns) for s in signs))] for line in range(height)
        ]
    return [[Segment(_ruler(maps.keys, layout.blocks[1]), _DIM)]]


def _in_turn(keys: Sequence[Token], columns: int, first: int, tile: int) -> Line:
    """Every second key, which so has the room of two; the last what the map leaves."""
    line = [Segment(" " * columns * first)]
    for at in range(first, len(keys), 2):
        if at == len(keys) - 1:
            line.append(Segment(word(keys[at], tile - columns * at)))
        else:
            line.append(Segment(aligned(word(keys[at], 2 * columns - 1), 2 * columns)))
    return line


def _centred(sign: str, width: int) -> str:
    left = (width - cell_len(sign)) // 2
    return aligned(" " * left + sign, width)


def _ruler(keys: Sequence[Token], block: int) -> str:
    """Numbers of keys, each beginning over its column."""
    columns = -(-len(keys) // block)
    step = 5 if columns <= 20 else 10
    ruler = ""
    for column in range(0, columns, step):
        mark = str(keys[column * block].i)
        if column and (len(ruler) >= column or column + len(mark) > columns):
            continue
        ruler = ruler.ljust(column) + mark
    return ruler[:columns]


def row_labels(maps: HeadMaps, layout: TileLayout) -> list[Line]:
    """What stands before each line: its word, and its number where keys are numbered."""
    if layout.label_style == "ruler":
        return _numbered_rows(maps.queries, layout)
    room = layout.gutter - 1
    lines: list[Line] = []
    for query in maps.queries:
        name = aligned(word(query, room), room, right=True)
        label = Segment(name, _DIM if query.special else _PLAIN)
        both = ([label, _border(query)], [Segment(" " * room), _border(query)])
        lines += both[: layout.cell[1]]
    return lines


def _border(query: Token) -> Segment:
    """Between a label and its cells; the rows of a second text have a line there."""
    return Segment("│", _DIM) if query.segment else Segment(" ")


def _numbered_rows(queries: Sequence[Token], layout: TileLayout) -> list[Line]:
    """A line's first number, and its words, or the first one of those that are pooled."""
    block, _ = layout.blocks
    step = block * (2 if layout.half else 1)
    digits = len(str(layout.last_index))
    room = max(0, layout.gutter - digits - 2)
    lines: list[Line] = []
    for first in range(0, len(queries), step):
        text = _sharing(queries[first : first + (step if block == 1 else 1)], room)
        number = str(queries[first].i)
        lines.append(
            [
                Segment(aligned(number, digits, right=True) + " ", _DIM),
                Segment(aligned(text, room, right=True)),
                _border(queries[first]),
            ]
        )
    return lines


def widest_line(queries: Sequence[Token]) -> int:
    """The widest label of a line that two queries share."""
    lines = (queries[at : at + 2] for at in range(0, len(queries), 2))
    return max(cell_len(_sharing(line, 2 * MAX_WORD + 1)) for line in lines)


def _sharing(queries: Sequence[Token], room: int) -> str:
    """One word or two in a room of so many cells."""
    each = min(room, MAX_WORD)
    words = [word(query, each) for query in queries]
    if sum(map(cell_len, words)) + len(words) - 1 > room:
        each = (room - 1) // 2
        words = [word(query, each) for query in queries] if each > 1 else words[:1]
    return " ".join(words)
