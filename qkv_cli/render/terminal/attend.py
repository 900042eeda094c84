"""The picture of `qkv attend`: head maps as tiles, and the strongest links."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from qkv_cli.core.arrays import Array
from qkv_cli.figures import cell_number, number
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.maps.matrix import LazyMatrix
from qkv_cli.render.colours import Ramp
from qkv_cli.render.legend import QUANTITIES, Appearance, Quantity, header, legend
from qkv_cli.render.plate import Medium, Plate, attention_plate, maps_part
from qkv_cli.render.terminal.tiles import (
    Line,
    Request,
    TileLayout,
    column_labels,
    half_blocks,
    join_columns,
    labels_below,
    numbered_cells,
    plan_tiles,
    row_labels,
    trimmed,
    whole_cells,
    widest_line,
)
from qkv_cli.render.text import aligned, distinct_words, widest, word
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import CellLink, largest, levels, survey, visible_cells

_NAME, _PLAIN = Style(bold=True), Style.null()


def attention(
    maps: HeadMaps,
    theme: Theme,
    *,
    numbers: bool = False,
    links: int = 5,
    min_maps: int = 1,
    quantity: Quantity | None = None,
) -> AttentionPicture:
    """Return the picture of `qkv attend`: header, maps, legend and strongest links.

    Args:
        numbers: Write the weights into the cells, if they fit.
        links: The number of strongest links to list per head.
        min_maps: Choose the layout for at least this many maps.
        quantity: The quantity drawn, if it is not that of the maps.
    """
    return AttentionPicture(
        maps=maps,
        theme=theme,
        quantity=quantity or QUANTITIES[maps.shown],
        numbers=numbers,
        links=links,
        min_maps=min_maps,
    )


@dataclass(frozen=True, slots=True)
class AttentionPicture:
    """A Rich renderable that fits the width it is given."""

    maps: HeadMaps
    theme: Theme
    quantity: Quantity
    numbers: bool = False
    links: int = 5
    min_maps: int = 1
    compares: bool = False

    def plate(self, medium: Medium) -> Plate:
        """Return the contents, the same for paper and for a browser."""
        return attention_plate(self.maps, [maps_part(self.maps, numbers=self.numbers)])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        maps = self.maps
        layout, numbers = self._layout(width)
        surveys = [survey(maps, m, layout.blocks, self.links) for m in maps.maps]
        cells = [s.cells for s in surveys]
        top, signed = largest(cells), any(s.has_negative for s in surveys)
        flat = self.theme.depth is not None and (numbers or layout.half)
        ramp = (self.theme.pixels if flat else self.theme.ramp)(signed=signed)
        appearance = Appearance(
            top=top,
            signed=signed,
            numbers_asked=self.numbers,
            numbers=numbers,
            layout=layout,
            ramp=ramp,
            width=width,
            quantity=self.quantity,
            compares=self.compares,
        )
        yield from header(self.maps, width)
        for first in range(0, len(cells), layout.across):
            yield Segment.line()
            part = slice(first, first + layout.across)
            yield from trimmed(self._band(part, cells[part], appearance))
        yield Segment.line()
        yield from legend(maps, appearance)
        if self.links:
            links = link_lines(maps, [s.links for s in surveys], width)
            yield from [Segment.line()] if links else []
            yield from trimmed(links)

    def _layout(self, width: int) -> tuple[TileLayout, bool]:
        """Return the layout, and whether the requested numbers fit."""
        maps, colour = self.maps, self.theme.depth is not None
        request = Request(
            n_maps=max(len(maps.maps), self.min_maps),
            n_query=len(maps.queries),
            n_key=len(maps.keys),
            query_width=widest(maps.queries),
            line_width=widest_line(maps.queries),
            key_width=widest(maps.keys),
            last_key_width=cell_len(word(maps.keys[-1])),
            name_width=max(cell_len(m.name) for m in maps.maps),
            number_width=_number_width(maps, colour) if self.numbers else 0,
            width=width,
            colour=colour,
            half_blocks=self.theme.half_blocks,
            last_index=max(maps.queries[-1].i, maps.keys[-1].i),
        )
        layout = plan_tiles(request)
        return layout, self.numbers and layout.label_style != "ruler"

    def _band(
        self, part: slice, weights: Sequence[Array], appearance: Appearance
    ) -> Iterator[Line]:
        """Yield the lines of maps next to each other, which share their row labels."""
        layout, ramp = appearance.layout, appearance.ramp
        yield join_columns(
            [Segment(" " * layout.gutter)],
            [[Segment(m.name, _NAME)] for m in self.maps.maps[part]],
            layout.tile,
        )
        for line in column_labels(self.maps, layout):
            yield join_columns([Segment(" " * layout.gutter)], [line] * len(weights), layout.tile)
        tiles = [self._cells(w, appearance, ramp) for w in weights]
        labels = row_labels(self.maps, layout)
        for label, *cells in zip(labels, *tiles, strict=True):
            yield join_columns(label, cells, layout.tile)

    def _cells(self, weights: Array, appearance: Appearance, ramp: Ramp) -> list[Line]:
        """Yield the lines of one map."""
        layout = appearance.layout
        level = levels(weights, appearance.top, len(ramp.inks), ramp.zero)
        if layout.half:
            return half_blocks(level, ramp)
        columns, height = layout.cell
        lines = first = whole_cells(level, ramp, columns)
        if appearance.numbers:
            first = numbered_cells(level, weights, ramp, columns)
        second = [labels_below(line) for line in lines]
        return [line for pair in zip(first, second, strict=True) for line in pair[:height]]


def _number_width(maps: HeadMaps, colour: bool) -> int:
    """Return the columns of the longest number and, without colour, of the shade next to it."""
    if any(isinstance(maps.seen(m), LazyMatrix) for m in maps.maps):
        return len("-.99")  # there is no room for them anyway
    weights = visible_cells(maps)
    numbers = np.concatenate([w[~np.isnan(w)] for w in weights])
    longest = max((len(cell_number(x)) for x in np.unique(numbers.round(2)).tolist()), default=1)
    return longest if colour else longest + 1 + bool((numbers < 0).any())


LONGEST_WORD = 14
BETWEEN = 3
_NAME, _DIM = Style(bold=True), Style(dim=True)

Link = tuple[str, str, str]  # query, key, weight


def link_lines(maps: HeadMaps, links: Sequence[Sequence[CellLink]], width: int) -> list[Line]:
    """Return a line of strongest links for each head, in as many columns as fit."""
    queries, keys = (
        distinct_words(maps.queries, LONGEST_WORD),
        distinct_words(maps.keys, LONGEST_WORD),
    )
    rows = [[(queries[q], keys[k], number(x)) for q, k, x in of_map] for of_map in links]
    name = max(cell_len(m.name) for m in maps.maps)
    columns = _columns(rows, width - name - 2)
    arrow = QUANTITIES[maps.shown].link
    return [
        [Segment(aligned(m.name, name + 2), _NAME), *_line(row, columns, arrow)]
        for m, row in zip(maps.maps, rows, strict=True)
        if row
    ]


def _columns(rows: Sequence[Sequence[Link]], width: int) -> list[tuple[int, ...]]:
    """Return the widths of query, key and weight in each column that fits."""
    columns: list[tuple[int, ...]] = []
    for nth in range(max(map(len, rows), default=0)):
        links = [row[nth] for row in rows if len(row) > nth]
        columns.append(tuple(max(cell_len(link[part]) for link in links) for part in range(3)))
        width -= sum(columns[-1]) + 4 + BETWEEN * (nth > 0)
        if width < 0 and nth > 0:
            columns.pop()
            break
    return columns


def _line(row: Sequence[Link], columns: Sequence[tuple[int, ...]], arrow: str) -> Line:
    line: Line = []
    for (query, key, weight), widths in zip(row, columns, strict=False):
        if line:
            line.append(Segment(" " * BETWEEN))
        line += [
            Segment(aligned(query, widths[0], right=True)),
            Segment(f" {arrow} ", _DIM),
            Segment(aligned(key, widths[1]) + " "),
            Segment(aligned(weight, widths[2], right=True), _DIM),
        ]
    return line
