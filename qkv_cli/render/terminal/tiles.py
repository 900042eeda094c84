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
from qkv_cli.render.text import aligned, vertical_label, word
from qkv_cli.render.weights import MASKED, Levels

GAP = 3  # columns between two maps
MAX_CELL = 6  # columns; wider cells are not easier to read
MAX_HEAD = {"one": 14, "tiles": 6}  # letters of a key that is written vertically
MAX_LABEL = {"one": 18, "tiles": 12}
LARGE = 16  # queries that get whole cells even if only one map fits in the width
OVERVIEW = 32  # columns of a pooled map next to others
MAX_WORD = 8  # cells of a word that shares its line


LabelStyle = Literal["across", "in turn", "down", "ruler"]


@dataclass(frozen=True, slots=True)
class TileLayout:
    """The layout of a picture, in terminal cells.

    Attributes:
        cell: Columns per key and lines per query; half a line if two queries share a line.
        blocks: Queries x keys that are pooled into one cell.
        across: Maps next to each other.
        tile: Columns of a map, including its name.
        gutter: Columns of the row labels, including the space after them.
        label_style: Column labels: across, on two lines in turn, downwards, or a ruler of numbers.
        head_lines: The lines of the column labels.
        last_index: The largest index of a row or column.
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
    """What is to be drawn, and the available space."""

    n_maps: int
    n_query: int
    n_key: int
    query_width: int  # of the widest label
    line_width: int  # of the widest label where two rows share a line
    key_width: int
    last_key_width: int
    name_width: int  # of the longest map name
    number_width: int  # 0: no numbers in the cells
    width: int
    colour: bool
    half_blocks: bool  # two rows can share a line
    last_index: int

    @property
    def size(self) -> Literal["one", "tiles"]:
        return "one" if self.n_maps == 1 else "tiles"


def plan_tiles(r: Request) -> TileLayout:
    """Choose a layout: whole cells if they fit, else half blocks or cells of one column, else an
    overview."""
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
    shaded = r.number_width and not r.colour  # a number next to its shade
    label_style: LabelStyle = "down"
    head_lines = min(r.key_width, MAX_HEAD[r.size])
    if r.key_width + 1 <= min(widest, MAX_LABEL["one"]):
        columns, label_style, head_lines = max(columns, r.key_width + 1), "across", 1
    elif r.key_width + 1 <= 2 * columns and columns >= 4:
        label_style, head_lines = "in turn", 2
    lines = 2 if columns >= 4 and r.n_query <= LARGE + 4 and not shaded else 1
    tile = max(columns * r.n_key, r.name_width)
    if label_style == "in turn":  # every name has the space of two columns, the last if possible
        wider = max(tile, columns * (r.n_key - 1) + r.last_key_width)
        tile = wider if wider * across + GAP * (across - 1) <= room else tile
    cell = (columns, lines)
    return TileLayout(
        cell=cell,
        half=False,
        blocks=(1, 1),
        across=across,
        tile=tile,
        gutter=gutter,
        label_style=label_style,
        head_lines=head_lines,
        last_index=r.last_index,
    )


def _small_cells(r: Request) -> TileLayout:
    digits = len(str(r.last_index))
    label = r.line_width if r.half_blocks else min(r.query_width, MAX_WORD)
    gutter = min(digits + 1 + label, r.width // 3) + 1
    # Without half blocks, several maps are an overview wherever they would be with them: a
    # line for each row, one map above the other, would be too long to scroll through.
    widest_label = r.line_width if r.n_maps > 1 else label
    label_width = min(digits + 1 + widest_label, r.width // 3) + 1
    fitting = _fitting(r.width - max(gutter, label_width), max(r.n_key, r.name_width))
    layout = TileLayout(
        cell=(1, 1),
        half=r.half_blocks,
        blocks=(1, 1),
        across=1,
        tile=r.n_key,
        gutter=gutter,
        label_style="ruler",
        head_lines=1,
        last_index=r.last_index,
    )
    if fitting:
        across = _balanced(r.n_maps, fitting)
        return replace(layout, across=across, tile=max(r.n_key, r.name_width))
    gutter = min(digits + 1 + min(r.query_width, MAX_WORD), r.width // 3) + 1
    room = max(1, r.width - gutter)
    across = _balanced(r.n_maps, max(1, _fitting(room, OVERVIEW)))
    tile = max(1, (room - GAP * (across - 1)) // across)
    keys = -(-r.n_key // tile)
    # A few queries over a long source keep one line each.
    queries = min(keys, -(-r.n_query // (tile * 2 // 3 + 1)))
    return replace(layout, blocks=(queries, keys), across=across, tile=tile, gutter=gutter)


def _fitting(room: int, tile: int) -> int:
    return max(0, (room + GAP) // (tile + GAP))


def _balanced(n_maps: int, fitting: int) -> int:
    """Balance the maps per band: 8 maps, of which 7 fit, are 4 and 4."""
    bands = -(-n_maps // fitting)
    return -(-n_maps // bands)


Line = list[Segment]


def whole_cells(levels: Levels, ramp: Ramp, width: int) -> list[Line]:
    """Return a line for each row, with `width` columns per cell."""
    cells = [(ink.cell(width), ink.style) for ink in ramp.inks]
    cells.append((" " * width, Style.null()))  # MASKED is the last
    return [
        [Segment(cells[level][0] * length, cells[level][1]) for level, length in _runs(row)]
        for row in levels
    ]


def labels_below(line: Line) -> Line:
    """Return the second line of a cell with two lines, without the dot."""
    blank = str.maketrans({DOT: " ", ASCII_DOT: " "})
    return [Segment(segment.text.translate(blank), segment.style) for segment in line]


def half_blocks(levels: Levels, ramp: Ramp) -> list[Line]:
    """Return a line for every two rows, one column per cell; a missing last row is blank."""
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
    """Return the numbers in cells of their ink; without colour, next to their shade."""
    texts = [["" if isnan(x) else cell_number(x) for x in row] for row in weights.tolist()]
    longest = max(len(text) for row in texts for text in row)
    separator = " " if any("-" in text for row in texts for text in row) else ""
    bare = Segment(" " * width, Style.null())
    return [
        [
            _numbered(ramp.inks[level], text.rjust(longest), width, separator) if text else bare
            for level, text in zip(row, numbers, strict=True)
        ]
        for row, numbers in zip(levels.tolist(), texts, strict=True)
    ]


def _numbered(ink: Ink, text: str, width: int, separator: str) -> Segment:
    if ink.glyph == " ":
        return Segment(text.center(width), ink.number)
    return Segment((ink.glyph + separator + text).ljust(width), ink.number)


def _runs(row: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Yield (level, length) of the runs in a row."""
    starts = np.flatnonzero(np.diff(row, prepend=row[0] - 1))
    lengths = np.diff(starts, append=len(row))
    return zip(row[starts].tolist(), lengths.tolist(), strict=True)


def join_columns(label: Line, cells: Sequence[Line], tile: int, between: int = GAP) -> Line:
    """Return a line of a band: the row label, and the cells of each map."""
    line = list(label)
    for nth, segments in enumerate(cells):
        used = sum(segment.cell_length for segment in segments)
        gap = between if nth < len(cells) - 1 else 0
        line += [*segments, Segment(" " * (tile - used + gap))]
    return line


def trimmed(lines: Iterator[Line] | Sequence[Line]) -> Iterator[Segment]:
    """Yield lines without trailing spaces."""
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
    """Return the column labels of the maps."""
    second = _second(maps.keys)
    if second is None:
        return _names(maps, layout)
    block, columns = layout.blocks[1], layout.cell[0]
    first, last = second // block, -(-len(maps.keys) // block)
    rule = " " * columns * first + "─" * columns * (last - first)
    return [*_names(maps, layout), [Segment(rule, _DIM)]]


def _second(tokens: Sequence[Token]) -> int | None:
    """Return the index of the first token of the second sentence of a pair."""
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
        signs = [vertical_label(key, height) for key in maps.keys]
        return [
            [Segment("".join(_centred(s[line], columns) for s in signs))] for line in range(height)
        ]
    return [[Segment(_ruler(maps.keys, layout.blocks[1]), _DIM)]]


def _in_turn(keys: Sequence[Token], columns: int, first: int, tile: int) -> Line:
    """Return every second key, with the space of two columns; the last has the rest of the tile."""
    line = [Segment(" " * columns * first)]
    for at in range(first, len(keys), 2):
        if at == len(keys) - 1:
            line.append(Segment(word(keys[at], tile - columns * at)))
        else:
            line.append(Segment(aligned(word(keys[at], 2 * columns - 1), 2 * columns)))
    return line


def _centred(sign: str, width: int) -> str:
    n_before = (width - cell_len(sign)) // 2
    return aligned(" " * n_before + sign, width)


def _ruler(keys: Sequence[Token], block: int) -> str:
    """Return the indices of keys, each starting above its column."""
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
    """Return the row labels: the word, and its index if keys are numbered."""
    if layout.label_style == "ruler":
        return _numbered_rows(maps.queries, layout)
    room = layout.gutter - 1
    lines: list[Line] = []
    for query in maps.queries:
        name = aligned(word(query, room), room, right=True)
        label = Segment(name, _DIM if query.special else _PLAIN)
        label_and_border = ([label, _border(query)], [Segment(" " * room), _border(query)])
        lines += label_and_border[: layout.cell[1]]
    return lines


def _border(query: Token) -> Segment:
    """Return the separator of label and cells; a line for the second sentence of a pair."""
    return Segment("│", _DIM) if query.segment else Segment(" ")


def _numbered_rows(queries: Sequence[Token], layout: TileLayout) -> list[Line]:
    """Return a line's first index and its words, or the first of pooled words."""
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
    """Return the width of the widest label of a line shared by two queries."""
    lines = (queries[at : at + 2] for at in range(0, len(queries), 2))
    return max(cell_len(_sharing(line, 2 * MAX_WORD + 1)) for line in lines)


def _sharing(queries: Sequence[Token], room: int) -> str:
    """Return one or two words in a given width."""
    word_width = min(room, MAX_WORD)
    words = [word(query, word_width) for query in queries]
    if sum(map(cell_len, words)) + len(words) - 1 > room:
        word_width = (room - 1) // 2
        words = [word(query, word_width) for query in queries] if word_width > 1 else words[:1]
    return " ".join(words)
