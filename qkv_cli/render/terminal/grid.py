"""The picture of `qkv grid`: every head of every layer as a thumbnail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from qkv_cli.analysis.measure import NAMES
from qkv_cli.analysis.study import Mark
from qkv_cli.core.arrays import Array
from qkv_cli.figures import cell_number, count
from qkv_cli.maps.head_maps import HeadMap, HeadMaps
from qkv_cli.render.colours import Ramp
from qkv_cli.render.legend import (
    QUANTITIES,
    block_note,
    flowing,
    header,
    label_line,
    scale_bar,
    scale_range,
    special_notes,
)
from qkv_cli.render.plate import LARGEST_SIDE, Medium, Plate, attention_plate, maps_part
from qkv_cli.render.terminal.tiles import Line, half_blocks, join_columns, trimmed, whole_cells
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import largest, levels, pooled_visible

LARGEST = 32  # columns of a thumbnail
ENLARGED = 16  # columns up to which the cells of short texts are enlarged
LINES = 28  # lines of thumbnails that allow a second band of heads
MAX_SCALE = 4
PAPER_SIDE = 64  # rows or columns of a thumbnail on paper; more would be indistinguishable


@dataclass(frozen=True, slots=True)
class Sheet:
    """The layout of a grid of thumbnails, in terminal cells.

    Attributes:
        across: Thumbnails per band; further heads follow in bands below.
        tile: Columns of a thumbnail with its name.
        gap: Columns between thumbnails.
        gutter: Columns of the layers' names, including the space after them.
        blocks: Queries x keys that are pooled into one cell.
        scale: Columns of a cell.
    """

    across: int
    tile: int
    gap: int
    gutter: int
    blocks: tuple[int, int]
    scale: int


def sheet(
    *,
    n_heads: int,
    n_query: int,
    n_key: int,
    name: int,
    gutter: int,
    width: int,
    n_layers: int = 1,
    half_blocks: bool = True,
) -> Sheet:
    """Choose the layout: all heads next to each other if their names fit; fewer if lines suffice
    and each thumbnail then shows more of its map, or is larger.

    Args:
        name: Columns of the longest head name, including its mark.
        half_blocks: Whether two rows can share a line.
    """
    room = max(name, width - gutter)
    fitting = max(1, (room + 1) // (name + 1))
    fewest = -(-n_heads // fitting)
    best = _in_bands(fewest, n_heads, n_query, n_key, name, room)
    for bands in range(fewest + 1, n_heads + 1):
        larger = _in_bands(bands, n_heads, n_query, n_key, name, room)
        rows = -(-n_query // larger.blocks[0])
        lines = -(-rows * larger.scale // 2) if half_blocks else rows * -(-larger.scale // 2)
        if bands * (n_layers * (1 + lines) + 1) > LINES:
            break
        if (larger.blocks, -larger.scale) < (best.blocks, -best.scale):
            best = larger
    return replace(best, gutter=gutter)


def _in_bands(bands: int, n_heads: int, n_query: int, n_key: int, name: int, room: int) -> Sheet:
    across = -(-n_heads // bands)
    tile_width = (room + 1) // across - 1
    gap = 2 if tile_width > name else 1
    tile = min(LARGEST, (room + gap) // across - gap)
    blocks = -(-n_query // tile), -(-n_key // tile)
    scale = max(1, min(MAX_SCALE, min(tile, ENLARGED) // max(n_query, n_key)))
    columns = max(name, scale * -(-n_key // blocks[1]))
    return Sheet(across=across, tile=columns, gap=gap, gutter=0, blocks=blocks, scale=scale)


_NAME, _DIM, _MARKED = Style(bold=True), Style(dim=True), Style(bold=True)
SIGNS = dict(zip(NAMES, "=<>^|,di", strict=True))
TOLD = 8  # heads that the legend names per kind


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """A Rich renderable that fits the width it is given: layers down, heads across.

    Attributes:
        marks: The labels of heads.
        n_shuffles: The number of shuffled readings behind the marks; 0 for no marks.
    """

    maps: HeadMaps
    theme: Theme
    marks: Sequence[Mark] = ()
    n_shuffles: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        maps, heads = self.maps, self._heads()
        layout = sheet(
            n_heads=len(heads),
            n_query=len(maps.queries),
            n_key=len(maps.keys),
            name=max(len(_called(m)) for m in maps.maps) + 2 * bool(self.marks),
            gutter=max(len(f"L{m.layer}") for m in maps.maps) + 1,
            width=width,
            n_layers=len({m.layer for m in maps.maps}),
            half_blocks=self.theme.half_blocks,
        )
        weights = pooled_visible(maps, layout.blocks)
        top = largest(weights)
        signed = maps.shown == "scores" or any(bool((w < 0).any()) for w in weights)
        ramp = self.theme.pixels(signed=signed)
        tiles = {
            (m.layer, m.head): _cells(w, top, ramp, layout.scale, half=self.theme.half_blocks)
            for m, w in zip(maps.maps, weights, strict=True)
        }
        yield from header(maps, width)
        for first in range(0, len(heads), layout.across):
            yield Segment.line()
            band = heads[first : first + layout.across]
            yield from trimmed(self._band(band, tiles, layout))
        yield Segment.line()
        yield from self._scale(ramp, top, width, signed=signed)
        yield from flowing(self._notes(weights, top, layout, signed=signed), width, _DIM)
        yield from self._legend_of_marks(width)
        if self.n_shuffles:
            yield from flowing([self._readings(), "qkv heads uses more readings"], width, _DIM)

    def plate(self, medium: Medium) -> Plate:
        """Return the contents for paper or for a browser, which also shows maps at full size."""
        part = maps_part(self.maps, side=PAPER_SIDE if medium == "paper" else LARGEST_SIDE)
        panels = [replace(p, signs=self._signs(p.layer, p.head)) for p in part.panels]
        notes = [*part.notes, *(line.plain for line in self._legend_of_marks(10_000))]
        notes += [self._readings()] if self.n_shuffles else []
        part = replace(part, panels=panels, notes=notes, small=True)
        return attention_plate(self.maps, [part])

    def _heads(self) -> list[int | None]:
        """Return the heads, one per column."""
        return sorted({m.head for m in self.maps.maps}, key=lambda h: -1 if h is None else h)

    def _band(
        self,
        heads: Sequence[int | None],
        tiles_of: dict[tuple[int, int | None], list[Line]],
        layout: Sheet,
    ) -> Iterator[Line]:
        """Yield some heads of every layer: names, and thumbnails below."""
        by_place = {(m.layer, m.head): m for m in self.maps.maps}
        for layer in dict.fromkeys(m.layer for m in self.maps.maps):
            row = [by_place.get((layer, head)) for head in heads]
            if not any(row):
                continue
            label = [Segment(f"L{layer}".ljust(layout.gutter), _NAME)]
            names = [[] if m is None else self._name(m, layout.tile) for m in row]
            yield join_columns(label, names, layout.tile, layout.gap)
            tiles = [[] if m is None else tiles_of[m.layer, m.head] for m in row]
            for at in range(max(map(len, tiles))):
                cells = [tile[at] if tile else [] for tile in tiles]
                blank = [Segment(" " * layout.gutter)]
                yield join_columns(blank, cells, layout.tile, layout.gap)

    def _name(self, m: HeadMap, room: int) -> Line:
        """Return a head's name with as many of its marks as fit."""
        name = _called(m)
        signs = self._signs(m.layer, m.head)
        if not signs:
            return [Segment(name, _DIM)]
        return [Segment(f"{name} {signs}"[:room], _MARKED)]

    def _signs(self, layer: int, head: int | None) -> str:
        return "".join(SIGNS[k.kind] for k in self.marks if (k.layer, k.head) == (layer, head))

    def _scale(self, ramp: Ramp, top: float, width: int, *, signed: bool) -> Iterator[Text]:
        if not top:
            return
        line, reading = (
            scale_bar(ramp, top, width, signed=signed),
            QUANTITIES[self.maps.shown].axes,
        )
        if line.cell_len + 3 + len(reading) <= width:
            yield line.append(f"   {reading}")
        else:
            yield line
            yield Text(reading, _DIM, overflow="fold")

    def _notes(
        self, weights: Sequence[Array], top: float, layout: Sheet, *, signed: bool
    ) -> Iterator[str]:
        quantity = QUANTITIES[self.maps.shown]
        if top:
            yield from [quantity.note] if quantity.note else []
            yield f"one scale for all heads: {scale_range(quantity, top, signed=signed)}"
        else:
            yield f"no {quantity.noun} to show"
        if layout.blocks != (1, 1):
            yield block_note(layout.blocks, quantity, signed=signed)
        if any(np.isnan(w).any() for w in weights):
            yield "blank: masked"
        if (n_heads := len(self._heads())) > layout.across:
            yield f"{layout.across} of {n_heads} heads fit side by side; the others follow below"
        yield from special_notes(self.maps)
        yield from (label_line(note) for note in self.maps.notes)
        strongest = max(self.marks, key=lambda mark: mark.effect, default=self.maps.maps[0])
        name = f"layer {strongest.layer}" if strongest.head is None else f"head {strongest.name}"
        show = "" if self.maps.shown == "weights" else f" --show {self.maps.shown}"
        yield f"a map at full size: qkv attend --{name}{show}"

    def _legend_of_marks(self, width: int) -> Iterator[Text]:
        """Yield each mark with its meaning and its heads."""
        for kind in NAMES:
            bear = sorted((k for k in self.marks if k.kind == kind), key=lambda k: -k.effect)
            if not bear:
                continue
            first = Text.assemble((SIGNS[kind], _MARKED), f" {kind}  ")
            marked = [f"{k.name} {cell_number(k.effect)}" for k in bear[:TOLD]]
            suffix = [f"and {len(bear) - TOLD} more"] if len(bear) > TOLD else []
            yield from flowing([*marked, *suffix], width, _DIM, first)

    def _readings(self) -> str:
        readings = count(self.n_shuffles, "shuffled reading")
        if self.marks:
            return f"marked: above chance in {readings}; the number is the effect size"
        return f"no head is above chance in {readings}"


def _called(m: HeadMap) -> str:
    if m.head is None:
        return "mean" if m.rollout is None else "rollout"
    return f"H{m.head}"


def _cells(weights: Array, top: float, ramp: Ramp, scale: int, *, half: bool) -> list[Line]:
    """Yield the lines of a thumbnail, as half blocks or shades, `scale` columns per cell."""
    level = levels(weights, top, len(ramp.inks), ramp.zero)
    if half:
        return half_blocks(level.repeat(scale, axis=0).repeat(scale, axis=1), ramp)
    lines = whole_cells(level, ramp, scale)
    return [line for line in lines for _ in range(-(-scale // 2))]
