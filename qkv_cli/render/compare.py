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
from qkv_cli.render.plate import Bars, Part, Plate, maps_part
from qkv_cli.render.quantity import QUANTITIES
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
        width = options.max_width
        yield from self._sides(width)
        yield from self._maps(self._both(), console, options)
        if (difference := self._difference()) is not None:
            yield from self._maps(difference, console, options)
        yield Text()
        yield from flowing(_overall(self.c), width, _NAME)
        yield from self._rows(width)
        yield from self._moved(width)

    def plate(self) -> Plate:
        """The same for paper and for a browser."""
        both, difference = self._both(), self._difference()
        parts: list[Part] = [maps_part(both, values=self.values)]
        parts += [] if difference is None else [maps_part(difference, values=self.values)]
        what, rows = _divergences(self.c)
        parts += [Bars(what, rows, 1.0)] if rows else []
        title = " and ".join(label_line(m.name) for m in both.maps)
        models = dict.fromkeys(label_line(maps.model.name) for maps in (self.c.a, self.c.b))
        said = [*(line.plain for line in self._sides(10_000)), *_overall(self.c)]
        return Plate(f"{title}: {label_line(both.text)}", " and ".join(models), said, parts)

    def _sides(self, width: int) -> Iterator[Text]:
        """What is compared, and its texts where they are two."""
        sides = list(zip(self.names, (self.c.a, self.c.b), strict=True))
        for name, maps in sides:
            yield from side(name, maps, width)
        if not _same_text(self.c):
            for name, maps in sides:
                yield from _text(name, maps, width)

    def _both(self) -> HeadMaps:
        c, (a, b) = self.c, self.names
        titled = (f"{a} {c.a.maps[0].name}", f"{b} {c.b.maps[0].name}")
        return _drawn(c, titled, (c.weights_a, c.weights_b), _merged(c))

    def _difference(self) -> HeadMaps | None:
        """None where there is none."""
        c, (a, b) = self.c, self.names
        if not np.nan_to_num(c.difference).any():
            return None
        what = QUANTITIES[c.a.shown]
        notes = [f"above 0, {b} has {what.more}; below 0, {a}", *_unpaired(c, a, b, what.one)]
        return _drawn(c, (f"{b} - {a}",), (c.difference,), notes)

    def _maps(
        self, maps: HeadMaps, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """The picture of `qkv attend` without what it says of the model, which is text alone."""
        picture = attention(maps, self.theme, values=self.values, links=0)
        parts = picture.__rich_console__(console, options)
        yield from dropwhile(lambda part: isinstance(part, Text), parts)

    def _rows(self, width: int) -> Iterator[Text]:
        title, rows = _divergences(self.c)
        if not rows:
            return
        yield Text(title, _DIM)
        wide = max(cell_len(name) for name, _ in rows)
        for name, bits in rows:
            line = Text("  ", no_wrap=True, overflow="crop").append(aligned(name, wide))
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
        arrow = QUANTITIES[self.c.a.shown].link
        for m in found:
            line = Text("  ", no_wrap=True, overflow="crop")
            line.append(aligned(queries[m.row], left, right=True)).append(f" {arrow} ", _DIM)
            line.append(aligned(keys[m.column], right))
            line.append(f"  {number(m.a):>4} → {number(m.b):<4}", _DIM)
            yield line.append(f"  {'+' if m.change > 0 else ''}{number(m.change)}")


def side(name: str, maps: HeadMaps, width: int) -> Iterator[Text]:
    """What one side is: its head, its model, and how it read."""
    [m] = maps.maps
    first = Text.assemble((f"{name}  ", _NAME), (f"{label_line(m.name)}  ", _NAME))
    said = [label_line(maps.model.name), f"heads {label_line(maps.model.origin)}"]
    said += [] if m.block == "self" else [f"block {m.block}"]
    said += [] if maps.weighting == "softmax" else [f"weighting {maps.weighting}"]
    said += ["causal"] if maps.causal else []
    said += [] if maps.shown == "weights" else [QUANTITIES[maps.shown].header]
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


def _overall(c: Comparison) -> list[str]:
    return [
        "Jensen-Shannon divergence " + _told(c.mean_divergence, " bits on average"),
        f"cosine {_told(c.cosine)}",
        f"Pearson {_told(c.pearson)}",
    ]


def _divergences(c: Comparison) -> tuple[str, list[tuple[str, float]]]:
    """What they are, and that of each query, in the order of the text."""
    known = np.flatnonzero(~np.isnan(c.divergence))
    title = "divergence of each query, bits"
    if len(known) > ROWS:
        known = np.sort(known[np.argsort(-c.divergence[known], kind="stable")[:ROWS]])
        title = f"the {ROWS} queries that differ most, bits"
    names = told_apart(c.queries, LONGEST_WORD)
    return title, [(names[row], float(c.divergence[row])) for row in known]


def _same_text(c: Comparison) -> bool:
    return (c.a.text, c.a.source, c.a.pair) == (c.b.text, c.b.source, c.b.pair)


def _drawn(
    c: Comparison, names: Sequence[str], weights: Sequence[Array], notes: Sequence[str]
) -> HeadMaps:
    """Maps on the common rows and columns, as the picture of `qkv attend` takes them."""
    [m] = c.a.maps
    made = []
    for name, w in zip(names, weights, strict=True):
        amounts, scores = np.nan_to_num(w), np.where(np.isnan(w), -np.inf, w)
        # The numbers stand wherever what is shown is looked for.
        made.append(
            HeadMap(name, m.block, m.layer, None, amounts, scores, norms=amounts, rollout=amounts)
        )
    causal = c.a.causal and c.b.causal
    return replace(
        c.a, causal=causal, queries=c.queries, keys=c.keys, maps=made, notes=tuple(notes)
    )


def _merged(c: Comparison) -> list[str]:
    """What was done to either side before, each said once."""
    return list(dict.fromkeys([*c.a.notes, *c.b.notes]))


def _unpaired(c: Comparison, a: str, b: str, what: str) -> Iterator[str]:
    for sign, name, alone in (("-", a, "b"), ("+", b, "a")):
        if any(getattr(pair, alone) is None for pair in c.columns):
            yield f"{sign} marks a word that only {name} has: no row, and {what} on one side alone"


def _told(figure: float, unit: str = "") -> str:
    return "none" if isnan(figure) else number(figure) + unit
