"""The pictures of `qkv compare`: two maps and their difference, or a table of similar heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import dropwhile
from math import isnan
from typing import Any, Literal

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.text import Text

from qkv_cli.analysis.compare import Comparison, SimilarHead, largest_changes
from qkv_cli.figures import number
from qkv_cli.maps.head_maps import FIELDS, HeadMap, HeadMaps
from qkv_cli.maps.matrix import Matrix, apply_rows, take
from qkv_cli.render.legend import QUANTITIES, Quantity, flowing, label_line, special_notes
from qkv_cli.render.plate import Bars, Medium, Part, Plate, maps_part
from qkv_cli.render.terminal.attend import attention
from qkv_cli.render.terminal.columns import bar
from qkv_cli.render.text import aligned, distinct_words
from qkv_cli.render.theme import Theme

_NAME, _DIM = Style(bold=True), Style(dim=True)
ROWS = 20  # rows whose divergence is listed; of a longer text, those that differ most
LONGEST_WORD, BAR = 14, 24
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # the names of sides
CAUSAL = "blank where a word cannot attend to later words"


def pictures(
    pairs: Sequence[Comparison], *, numbers: bool = False, links: int = 5
) -> list[Callable[[Theme], ComparePicture]]:
    """Return functions that draw one side with the others: in one picture if all comparisons have
    the same rows and columns, else one picture each.
    """
    groups: list[list[int]] = []
    for at, c in enumerate(pairs):
        if groups and _places(pairs[groups[-1][0]]) == _places(c):
            groups[-1].append(at)
        else:
            groups.append([at])

    def draw(group: Sequence[int], theme: Theme) -> ComparePicture:
        names = [LETTERS[0], *(LETTERS[at + 1] for at in group)]
        return ComparePicture(
            pairs=[pairs[at] for at in group],
            names=names,
            theme=theme,
            numbers=numbers,
            links=links,
        )

    return [partial(draw, group) for group in groups]


@dataclass(frozen=True, slots=True)
class ComparePicture:
    """A Rich renderable that fits the width it is given.

    Attributes:
        pairs: The comparisons of one side with others, on the same rows and columns.
        names: The names of the sides: A, B and so on.
        numbers: Write the weights into the cells, if they fit.
        links: The number of largest differences to list.
    """

    pairs: Sequence[Comparison]
    names: Sequence[str]
    theme: Theme
    numbers: bool = False
    links: int = 5

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield from self._sides(width)
        yield from self._maps(self._all(), None, console, options)
        if (differences := self._differences()) is not None:
            yield from self._maps(differences, self._change(), console, options)
        for c, name in zip(self.pairs, self.names[1:], strict=True):
            yield Text()
            yield from flowing(_overall(c), width, _NAME, Text(self._of(name), _NAME))
            yield from self._rows(c, width)
            yield from self._moved(c, name, width)

    def plate(self, medium: Medium) -> Plate:
        """Return the contents, the same for paper and for a browser."""
        maps, differences = self._all(), self._differences()
        parts: list[Part] = [maps_part(maps, numbers=self.numbers)]
        if differences is not None:
            parts.append(maps_part(differences, numbers=self.numbers, quantity=self._change()))
        statements = [line.plain for line in self._sides(10_000)]
        for c, name in zip(self.pairs, self.names[1:], strict=True):
            title_of_bars, rows = _divergences(c)
            parts += [Bars(self._of(name) + title_of_bars, rows, 1.0)] if rows else []
            first, *more_statements = _overall(c)
            statements += [self._of(name) + first, *more_statements]
        title = " and ".join(label_line(m.name) for m in maps.maps)
        models = dict.fromkeys(label_line(m.model.name) for m in self._read())
        return Plate(
            title=f"{title}: {label_line(maps.text)}",
            name=" and ".join(models),
            statements=statements,
            parts=parts,
        )

    def _read(self) -> list[HeadMaps]:
        return [self.pairs[0].a, *(c.b for c in self.pairs)]

    def _of(self, name: str) -> str:
        """Return the names of the sides of a pair, if there are several pairs."""
        return f"{self.names[0]} and {name}: " if len(self.pairs) > 1 else ""

    def _sides(self, width: int) -> Iterator[Text]:
        """Yield the descriptions of the sides, and their texts if these differ."""
        sides = list(zip(self.names, self._read(), strict=True))
        differ = len({maps.weighting for _, maps in sides}) > 1
        for name, maps in sides:
            yield from side_name(name, maps, width, weighting=differ)
        if len({(maps.text, maps.source, maps.pair) for _, maps in sides}) > 1:
            for name, maps in sides:
                yield from _text(name, maps, width)

    def _all(self) -> HeadMaps:
        titled = [f"{n} {m.maps[0].name}" for n, m in zip(self.names, self._read(), strict=True)]
        weights = [self.pairs[0].weights_a, *(c.weights_b for c in self.pairs)]
        return _drawn_maps(self.pairs[0], titled, weights, self._notes())

    def _notes(self) -> list[str]:
        """The notes of the sides, with the names of the sides that they are about."""
        of: dict[str, list[str]] = {}
        sides = [_own_columns(self.pairs[0], "a"), *(_own_columns(c, "b") for c in self.pairs)]
        all_causal = all(maps.causal for maps in sides)
        for name, maps in zip(self.names, sides, strict=True):
            causal = [] if all_causal or not maps.causal else [CAUSAL]
            for note in (*causal, *special_notes(maps), *maps.notes):
                of.setdefault(note, []).append(name)
        every = len(self.names)
        return [n if len(names) == every else f"{', '.join(names)}: {n}" for n, names in of.items()]

    def _differences(self) -> HeadMaps | None:
        """Return the maps of the differences; None if nothing differs."""
        first, a, others = self.pairs[0], self.names[0], self.names[1:]
        if not any(c.differs for c in self.pairs):
            return None
        quantity = QUANTITIES[first.a.shown]
        notes = [f"above 0, {' or '.join(others)} has {quantity.larger}; below 0, {a}"]
        notes += _unpaired(first, a, others[0], quantity.noun)
        names = [f"{name} - {a}" for name in others]
        return _drawn_maps(first, names, [c.difference for c in self.pairs], notes)

    def _change(self) -> Quantity:
        return replace(QUANTITIES[self.pairs[0].a.shown], noun="difference", note="")

    def _maps(
        self, maps: HeadMaps, quantity: Quantity | None, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Yield the picture of `qkv attend` without its header; differences have cells of the same
        size as the maps.
        """
        min_maps = len(self.names)
        picture = attention(
            maps, self.theme, numbers=self.numbers, links=0, min_maps=min_maps, quantity=quantity
        )
        picture = replace(picture, compares=True)
        parts = picture.__rich_console__(console, options)
        yield from dropwhile(lambda part: isinstance(part, Text), parts)

    def _rows(self, c: Comparison, width: int) -> Iterator[Text]:
        title, rows = _divergences(c)
        if not rows:
            return
        yield Text(title, _DIM)
        wide = max(cell_len(name) for name, _ in rows)
        for name, bits in rows:
            line = Text("  ", no_wrap=True, overflow="crop").append(aligned(name, wide))
            line.append(f" {number(bits):>4} ", _DIM)
            room = min(BAR, width - line.cell_len)
            yield line.append_text(bar(Decimal(str(round(bits, 6))), Decimal(1), room, self.theme))

    def _moved(self, c: Comparison, name: str, width: int) -> Iterator[Text]:
        cells = largest_changes(c, self.links)
        if not cells:
            return
        yield Text(f"largest differences, {self.names[0]} → {name}", _DIM)
        queries, keys = (
            distinct_words(c.queries, LONGEST_WORD),
            distinct_words(c.keys, LONGEST_WORD),
        )
        name_width = max(cell_len(queries[m.row]) for m in cells)
        right = max(cell_len(keys[m.column]) for m in cells)
        arrow = QUANTITIES[c.a.shown].link
        for m in cells:
            line = Text("  ", no_wrap=True, overflow="crop")
            line.append(aligned(queries[m.row], name_width, right=True)).append(f" {arrow} ", _DIM)
            line.append(aligned(keys[m.column], right))
            line.append(f"  {number(m.a):>4} → {number(m.b):<4}", _DIM)
            yield line.append(f"  {'+' if m.change > 0 else ''}{number(m.change)}")


def side_name(name: str, maps: HeadMaps, width: int, *, weighting: bool = False) -> Iterator[Text]:
    """Yield the description of a side: head, model, options; softmax only on request."""
    [m] = maps.maps
    first = Text.assemble((f"{name}  {label_line(m.name)}", _NAME), "  ")
    statements = [label_line(maps.model.name), f"heads {label_line(maps.model.origin)}"]
    statements += [] if m.block == "self" else [f"block {m.block}"]
    names_weighting = weighting or maps.weighting != "softmax"
    statements += [f"weighting {maps.weighting}"] if names_weighting else []
    statements += ["causal"] if maps.causal else []
    statements += [f"ablated: {label_line(maps.ablated)}"] if maps.ablated else []
    statements += [] if maps.shown == "weights" else [QUANTITIES[maps.shown].header]
    yield from flowing(statements, width, _DIM, first)


def _text(name: str, maps: HeadMaps, width: int) -> Iterator[Text]:
    """Yield the text of one side, on one line."""
    source = "" if maps.source is None else f" (keys and values: {label_line(maps.source)})"
    pair = "" if maps.pair is None else f" (second sentence: {label_line(maps.pair)})"
    line = Text(f"{name}: ", _DIM, no_wrap=True).append(
        label_line(maps.text) + source + pair, Style(dim=False)
    )
    line.truncate(width, overflow="ellipsis")
    yield line


def _overall(c: Comparison) -> list[str]:
    return [
        "Jensen-Shannon divergence "
        + (_metric(c.mean_divergence, " bits on average") + _why_none(c)),
        f"cosine {_metric(c.cosine)}",
        f"Pearson {_metric(c.pearson)}",
    ]


def _why_none(c: Comparison) -> str:
    """Explain why there is no divergence."""
    if not isnan(c.mean_divergence):
        return ""
    if "linear" in (c.a.weighting, c.b.weighting):
        return " (linear weights do not sum to 1)"
    return " (scores do not sum to 1)" if c.a.shown == "scores" else ""


def _divergences(c: Comparison) -> tuple[str, list[tuple[str, float]]]:
    """Return the title, and the divergence of each query in the order of the text."""
    comparable = np.flatnonzero(~np.isnan(c.divergence))
    title = "divergence by query, bits"
    if len(comparable) > ROWS:
        comparable = np.sort(
            comparable[np.argsort(-c.divergence[comparable], kind="stable")[:ROWS]]
        )
        title = f"the {ROWS} queries that diverge most, bits"
    names = distinct_words(c.queries, LONGEST_WORD)
    return title, [(names[row], float(c.divergence[row])) for row in comparable]


def _places(c: Comparison) -> tuple[object, ...]:
    """Return what comparisons must share to be drawn in one picture."""
    rows, columns = ([pair.a for pair in side] for side in (c.rows, c.columns))
    return c.a.queries, c.a.keys, rows, columns, [t.text for t in (*c.queries, *c.keys)]


def _own_columns(c: Comparison, side: Literal["a", "b"]) -> HeadMaps:
    """Return one side of a comparison: its common rows, and the columns of its own words."""
    maps, weights = (c.a, c.weights_a) if side == "a" else (c.b, c.weights_b)
    rows = [getattr(pair, side) for pair in c.rows]
    columns = [(at, i) for at, p in enumerate(c.columns) if (i := getattr(p, side)) is not None]
    side_weights = take(weights, slice(None), [at for at, _ in columns])
    [m] = maps.maps
    amounts, mask = _filled(side_weights)
    return replace(
        maps,
        queries=[maps.queries[i] for i in rows],
        keys=[maps.keys[i] for _, i in columns],
        maps=[
            HeadMap(
                name=m.name,
                block=m.block,
                layer=m.layer,
                head=m.head,
                **amounts,
                mask=mask,
            )
        ],
    )


def _filled(weights: Matrix) -> tuple[dict[str, Any], Matrix]:
    """Return numbers for every field that can be shown, 0 where they are NaN, and the mask."""
    amounts = dict.fromkeys(FIELDS.values(), apply_rows(np.nan_to_num, weights))
    return amounts, apply_rows(lambda x: ~np.isnan(x), weights)


def _drawn_maps(
    c: Comparison, names: Sequence[str], weights: Sequence[Matrix], notes: Sequence[str]
) -> HeadMaps:
    """Return maps on the common rows and columns, for the picture of `qkv attend`."""
    [m] = c.a.maps
    head_maps = []
    for name, w in zip(names, weights, strict=True):
        amounts, mask = _filled(w)
        head_maps.append(
            HeadMap(name=name, block=m.block, layer=m.layer, head=None, **amounts, mask=mask)
        )
    causal = c.a.causal and c.b.causal
    return replace(
        c.a, causal=causal, queries=c.queries, keys=c.keys, maps=head_maps, notes=tuple(notes)
    )


def _unpaired(c: Comparison, a: str, b: str, noun: str) -> Iterator[str]:
    for sign, name, other_side in (("-", a, "b"), ("+", b, "a")):
        if any(getattr(pair, other_side) is None for pair in c.columns):
            yield (
                f"{sign} marks a word that only {name} has: a column without a row, "
                f"no {noun} in the other"
            )


def _metric(value: float, unit: str = "", *, missing: str = "undefined") -> str:
    return missing if isnan(value) else number(value) + unit


_NAME, _DIM = Style(bold=True), Style(dim=True)
SIMILARITY_BAR = 24


@dataclass(frozen=True, slots=True)
class NearestTable:
    """A Rich renderable that fits the width it is given."""

    own: HeadMaps  # the reference head
    others: HeadMaps  # the side whose heads are ranked
    near: Sequence[SimilarHead]
    theme: Theme

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield from side_name("nearest to", self.own, width)
        statements = [f"among the heads of {label_line(self.others.model.name)}"]
        if (self.own.text, self.own.source) != (self.others.text, self.others.source):
            statements.append(f"on: {label_line(self.others.text)}")
        yield from flowing(statements, width, _DIM)
        yield Text()
        if not self.near:
            yield Text("no other head to compare with")
            return
        name = max(len(n.map.name) for n in self.near)
        title = f"{'':{name}}  bits  cosine  Pearson"
        yield Text(title, _DIM, no_wrap=True, overflow="crop")
        for n in self.near:
            line = Text(no_wrap=True, overflow="crop").append(n.map.name.ljust(name), _NAME)
            line.append(
                f"  {_metric(n.divergence, missing='-'):>4}  {_metric(n.cosine, missing='-'):>6}"
                f"  {_metric(n.pearson, missing='-'):>7}  "
            )
            if not isnan(n.divergence):
                room = min(SIMILARITY_BAR, width - line.cell_len)
                bits = Decimal(str(round(n.divergence, 6)))
                line.append_text(bar(bits, Decimal(1), room, self.theme))
            yield line
        yield Text()
        yield from flowing(["bits: mean Jensen-Shannon divergence, 0 to 1"], width, _DIM)
