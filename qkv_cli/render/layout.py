"""How much of a map a width can hold, and how many maps beside each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

GAP = 3  # columns between two maps
MAX_CELL = 6  # columns; wider cells do not read better
MAX_HEAD = {"one": 14, "tiles": 6}  # letters of a key that is written downwards
MAX_LABEL = {"one": 18, "tiles": 12}
LARGE = 16  # queries that are drawn in whole cells even if only one map fits across
OVERVIEW = 32  # columns of a pooled map that has others beside it
MAX_WORD = 8  # cells of a word that shares its line with another


Heads = Literal["across", "in turn", "down", "ruler"]


@dataclass(frozen=True, slots=True)
class Plan:
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
    heads: Heads
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


def plan(r: Request) -> Plan:
    """Whole cells if they fit, else half blocks or cells of one column, else an overview."""
    return _whole_cells(r) or _small_cells(r)


def _whole_cells(r: Request) -> Plan | None:
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
    heads: Heads = "down"
    head_lines = min(r.key_width, MAX_HEAD[r.size])
    if r.key_width + 1 <= min(widest, MAX_LABEL["one"]):
        columns, heads, head_lines = max(columns, r.key_width + 1), "across", 1
    elif r.key_width + 1 <= 2 * columns and columns >= 4:
        heads, head_lines = "in turn", 2
    lines = 2 if columns >= 4 and r.n_query <= LARGE + 4 and not shaded else 1
    tile = max(columns * r.n_key, r.name_width)
    if heads == "in turn":  # every name has the room of two columns, the last too if it can
        wider = max(tile, columns * (r.n_key - 1) + r.last_key_width)
        tile = wider if wider * across + GAP * (across - 1) <= room else tile
    cell = (columns, lines)
    return Plan(cell, False, (1, 1), across, tile, gutter, heads, head_lines, r.last_index)


def _small_cells(r: Request) -> Plan:
    digits = len(str(r.last_index))
    label = r.line_width if r.half_blocks else min(r.query_width, MAX_WORD)
    gutter = min(digits + 1 + label, r.width // 3) + 1
    # Without half blocks several maps are an overview where they would be one with them: a
    # line for each row, and one map above the other, is more than anyone scrolls through.
    widest_label = r.line_width if r.n_maps > 1 else label
    taken = min(digits + 1 + widest_label, r.width // 3) + 1
    fitting = _fitting(r.width - max(gutter, taken), max(r.n_key, r.name_width))
    whole = Plan((1, 1), r.half_blocks, (1, 1), 1, r.n_key, gutter, "ruler", 1, r.last_index)
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
