"""What names the rows and the columns of a map."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from qkv_cli.core.tokens import Token
from qkv_cli.render.cells import aligned
from qkv_cli.render.grid import Line
from qkv_cli.render.layout import MAX_WORD, Plan
from qkv_cli.render.words import downwards, word
from qkv_cli.views import HeadMaps

_DIM, _PLAIN = Style(dim=True), Style.null()


def heads(maps: HeadMaps, layout: Plan) -> list[Line]:
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


def _names(maps: HeadMaps, layout: Plan) -> list[Line]:
    columns, _ = layout.cell
    if layout.heads == "across":
        names = (word(key, columns - 1) for key in maps.keys)
        return [[Segment(" ".join(aligned(name, columns - 1) for name in names))]]
    if layout.heads == "in turn":
        return [_in_turn(maps.keys, columns, first, layout.tile) for first in (0, 1)]
    if layout.heads == "down":
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


def row_labels(maps: HeadMaps, layout: Plan) -> list[Line]:
    """What stands before each line: its word, and its number where keys are numbered."""
    if layout.heads == "ruler":
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


def _numbered_rows(queries: Sequence[Token], layout: Plan) -> list[Line]:
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
