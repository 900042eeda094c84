"""What `qkv compare` shows: two maps at one scale, their difference, and how large it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import dropwhile
from math import isnan

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.text import Text

from qkv_cli.analysis.compare import Comparison, moved
from qkv_cli.core.arrays import Array
from qkv_cli.render.attention import attention
from qkv_cli.render.cells import aligned
from qkv_cli.render.columns import bar
from qkv_cli.render.flow import flowing
from qkv_cli.render.header import label_line
from qkv_cli.render.theme import Theme
from qkv_cli.render.weights import number
from qkv_cli.render.words import told_apart
from qkv_cli.views import HeadMap, HeadMaps

_NAME, _DIM = Style(bold=True), Style(dim=True)
ROWS = 20  # rows whose divergence is told; of a longer text, those that differ most
LONGEST_WORD, BAR = 14, 24
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # what sides are called


@dataclass(frozen=True, slots=True)
class ComparePicture:
    """A Rich renderable that fits the width it is given.

    Attributes:
        names: What the two sides are called: A and B.
        values: Write the weights into the cells, where the width has room for them.
        links: How many of the cells that moved most are told.
    """

    c: Comparison
    names: tuple[str, str]
    theme: Theme
    values: bool = False
    links: int = 5

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        c, width = self.c, options.max_width
        a, b = self.names
        for name, maps in zip(self.names, (c.a, c.b), strict=True):
            yield from side(name, maps, width)
        if not _same_text(c):
            for name, maps in zip(self.names, (c.a, c.b), strict=True):
                yield from _text(name, maps, width)
        titled = (f"{a} {c.a.maps[0].name}", f"{b} {c.b.maps[0].name}")
        yield from self._maps(titled, (c.weights_a, c.weights_b), _merged(c), console, options)
        if np.nan_to_num(c.difference).any():
            notes = [f"above 0, {b} has more weight; below 0, {a}", *_unpaired(c, a, b)]
            difference = (f"{b} - {a}",), (c.difference,)
            yield from self._maps(*difference, notes, console, options)
        yield Text()
        yield from self._figures(width)

    def _maps(
        self,
        names: Sequence[str],
        weights: Sequence[Array],
        notes: Sequence[str],
        console: Console,
        options: ConsoleOptions,
    ) -> Iterator[RenderableType]:
        """The picture of `qkv attend` without what it says of the model, which is text alone."""
        picture = attention(
            _drawn(self.c, names, weights, notes), self.theme, values=self.values, links=0
        )
        parts = picture.__rich_console__(console, options)
        yield from dropwhile(lambda part: isinstance(part, Text), parts)

    def _figures(self, width: int) -> Iterator[Text]:
        c = self.c
        said = [
            "Jensen-Shannon divergence " + _told(c.mean_divergence, " bits on average"),
            f"cosine {_told(c.cosine)}",
            f"Pearson {_told(c.pearson)}",
        ]
        yield from flowing(said, width, _NAME)
        yield from self._rows(width)
        yield from self._moved(width)

    def _rows(self, width: int) -> Iterator[Text]:
        """The divergence of each query, in the order of the text."""
        c = self.c
        known = np.flatnonzero(~np.isnan(c.divergence))
        if not len(known):
            return
        if most := len(known) > ROWS:
            known = np.sort(known[np.argsort(-c.divergence[known], kind="stable")[:ROWS]])
        yield Text(
            f"the {ROWS} queries that differ most, bits"
            if most
            else "divergence of each query, bits",
            _DIM,
        )
        names = told_apart(c.queries, LONGEST_WORD)
        wide = max(cell_len(names[row]) for row in known)
        for row in known:
            bits = float(c.divergence[row])
            line = Text("  ", no_wrap=True, overflow="crop").append(aligned(names[row], wide))
            line.append(f" {number(bits):>4} ", _DIM)
            room = min(BAR, width - line.cell_len)
            yield line.append_text(bar(Decimal(str(round(bits, 6))), Decimal(1), room, self.theme))

    def _moved(self, width: int) -> Iterator[Text]:
        found = moved(self.c, self.links)
        if not found:
            return
        yield Text("what differs most", _DIM)
        queries = told_apart(self.c.queries, LONGEST_WORD)
        keys = told_apart(self.c.keys, LONGEST_WORD)
        left = max(cell_len(queries[m.row]) for m in found)
        right = max(cell_len(keys[m.column]) for m in found)
        for m in found:
            line = Text("  ", no_wrap=True, overflow="crop")
            line.append(aligned(queries[m.row], left, right=True)).append(" → ", _DIM)
            line.append(aligned(keys[m.column], right))
            line.append(f"  {number(m.a):>4} → {number(m.b):<4}", _DIM)
            yield line.append(f"  {'+' if m.change > 0 else ''}{number(m.change)}")


def side(name: str, maps: HeadMaps, width: int) -> Iterator[Text]:
    """What one side is: its head, its model, and how it read."""
    [m] = maps.maps
    first = Text(f"{name}  ", _NAME).append(f"{label_line(m.name)}  ", _NAME)
    said = [label_line(maps.model.name), f"heads {label_line(maps.model.origin)}"]
    said += [] if m.block == "self" else [f"block {m.block}"]
    said += [] if maps.weighting == "softmax" else [f"weighting {maps.weighting}"]
    said += ["causal"] if maps.causal else []
    yield from flowing(said, width, _DIM, first)


def _text(name: str, maps: HeadMaps, width: int) -> Iterator[Text]:
    """The text that one side has read, on a line."""
    source = "" if maps.source is None else f" from {label_line(maps.source)}"
    pair = "" if maps.pair is None else f" with {label_line(maps.pair)}"
    line = Text(f"{name}: ", _DIM, no_wrap=True).append(
        label_line(maps.text) + source + pair, Style(dim=False)
    )
    line.truncate(width, overflow="ellipsis")
    yield line


def _same_text(c: Comparison) -> bool:
    return (c.a.text, c.a.source, c.a.pair) == (c.b.text, c.b.source, c.b.pair)


def _drawn(
    c: Comparison, names: Sequence[str], weights: Sequence[Array], notes: Sequence[str]
) -> HeadMaps:
    """Maps on the common rows and columns, as the picture of `qkv attend` takes them."""
    [m] = c.a.maps
    made = [
        HeadMap(name, m.block, m.layer, None, np.nan_to_num(w), np.where(np.isnan(w), -np.inf, 0))
        for name, w in zip(names, weights, strict=True)
    ]
    causal = c.a.causal and c.b.causal
    return replace(
        c.a, causal=causal, queries=c.queries, keys=c.keys, maps=made, notes=tuple(notes)
    )


def _merged(c: Comparison) -> list[str]:
    """What was done to either side before, each said once."""
    return list(dict.fromkeys([*c.a.notes, *c.b.notes]))


def _unpaired(c: Comparison, a: str, b: str) -> Iterator[str]:
    for sign, name, alone in (("-", a, "b"), ("+", b, "a")):
        if any(getattr(pair, alone) is None for pair in c.columns):
            yield f"{sign} marks a word that only {name} has: no row, and weight on one side alone"


def _told(figure: float, unit: str = "") -> str:
    return "none" if isnan(figure) else number(figure) + unit
