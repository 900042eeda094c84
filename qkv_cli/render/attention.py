"""The picture of `qkv attend`: who looks at whom, in as many maps as were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from qkv_cli.core.arrays import Array
from qkv_cli.render.grid import (
    Line,
    below,
    beside,
    half_blocks,
    numbered_cells,
    trimmed,
    whole_cells,
)
from qkv_cli.render.header import header
from qkv_cli.render.inks import Ramp
from qkv_cli.render.layout import Plan, Request, plan
from qkv_cli.render.legend import Shown, legend
from qkv_cli.render.links import link_lines
from qkv_cli.render.margins import heads, row_labels, widest_line
from qkv_cli.render.plate import Plate, attention_plate
from qkv_cli.render.quantity import QUANTITIES, Quantity
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import cell_number, largest, levels, pooled, visible
from qkv_cli.render.words import widest, word
from qkv_cli.views import HeadMaps

_NAME, _PLAIN = Style(bold=True), Style.null()


def attention(
    maps: HeadMaps,
    theme: Theme,
    *,
    numbers: bool = False,
    links: int = 5,
    like: int = 1,
    what: Quantity | None = None,
) -> AttentionPicture:
    """Everything `qkv attend` prints: header, maps, legend, and the strongest links in words.

    Args:
        numbers: Write the weights into the cells, where the width has room for them.
        links: How many of a head's strongest links are told; 0 for none.
        like: Lay them out as if there were so many maps at least.
        what: The kind of number, if not what the maps show.
    """
    return AttentionPicture(maps, theme, what or QUANTITIES[maps.shown], numbers, links, like)


@dataclass(frozen=True, slots=True)
class AttentionPicture:
    """A Rich renderable that fits the width it is given."""

    maps: HeadMaps
    theme: Theme
    what: Quantity
    numbers: bool = False
    links: int = 5
    like: int = 1

    def plate(self) -> Plate:
        """The same for paper and for a browser."""
        return attention_plate(self.maps, numbers=self.numbers)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        weights = visible(self.maps)
        top = largest(weights)
        signed = self.maps.shown == "scores" or any(bool((w < 0).any()) for w in weights)
        layout, numbers = self._layout(weights, width)
        flat = self.theme.depth is not None and (numbers or layout.half)
        ramp = (self.theme.pixels if flat else self.theme.ramp)(signed=signed)
        shown = Shown(top, signed, self.numbers, numbers, layout, ramp, width, self.what)
        yield from header(self.maps, width)
        for first in range(0, len(weights), layout.across):
            yield Segment.line()
            part = slice(first, first + layout.across)
            yield from trimmed(self._band(part, weights[part], shown))
        yield Segment.line()
        yield from legend(self.maps, weights, shown)
        if self.links:
            told = link_lines(self.maps, weights, self.links, width)
            yield from [Segment.line()] if told else []
            yield from trimmed(told)

    def _layout(self, weights: Sequence[Array], width: int) -> tuple[Plan, bool]:
        """The plan, and whether there is room for the numbers that were asked for."""
        maps, colour = self.maps, self.theme.depth is not None
        request = Request(
            n_maps=max(len(weights), self.like),
            n_query=len(maps.queries),
            n_key=len(maps.keys),
            query_width=widest(maps.queries),
            line_width=widest_line(maps.queries),
            key_width=widest(maps.keys),
            last_key_width=cell_len(word(maps.keys[-1])),
            name_width=max(cell_len(m.name) for m in maps.maps),
            number_width=_number_width(weights, colour) if self.numbers else 0,
            width=width,
            colour=colour,
            half_blocks=self.theme.half_blocks,
            last_index=max(maps.queries[-1].i, maps.keys[-1].i),
        )
        layout = plan(request)
        return layout, self.numbers and layout.heads != "ruler"

    def _band(self, part: slice, weights: Sequence[Array], shown: Shown) -> Iterator[Line]:
        """Maps beside each other: they share the row labels, for they share the queries."""
        layout, ramp = shown.layout, shown.ramp
        yield beside(
            [Segment(" " * layout.gutter)],
            [[Segment(m.name, _NAME)] for m in self.maps.maps[part]],
            layout.tile,
        )
        for line in heads(self.maps, layout):
            yield beside([Segment(" " * layout.gutter)], [line] * len(weights), layout.tile)
        tiles = [self._cells(w, shown, ramp) for w in weights]
        labels = row_labels(self.maps, layout)
        for label, *cells in zip(labels, *tiles, strict=True):
            yield beside(label, cells, layout.tile)

    def _cells(self, weights: Array, shown: Shown, ramp: Ramp) -> list[Line]:
        """One map, a line for each line of labels."""
        layout = shown.layout
        weights = pooled(weights, layout.blocks)
        level = levels(weights, shown.top, len(ramp.inks), ramp.zero)
        if layout.half:
            return half_blocks(level, ramp)
        columns, height = layout.cell
        lines = first = whole_cells(level, ramp, columns)
        if shown.numbers:
            first = numbered_cells(level, weights, ramp, columns)
        second = [below(line) for line in lines]
        return [line for pair in zip(first, second, strict=True) for line in pair[:height]]


def _number_width(weights: Sequence[Array], colour: bool) -> int:
    """Columns of the longest number, and of the shade beside it where there is no colour;
    a minus would touch the shade.
    """
    numbers = np.concatenate([w[~np.isnan(w)] for w in weights])
    longest = max((len(cell_number(x)) for x in np.unique(numbers.round(2)).tolist()), default=1)
    return longest if colour else longest + 1 + bool((numbers < 0).any())
