"""What a picture holds, apart from how it is drawn: for paper and for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.render.legend import about, label_line, mask_notes, scale_notes, word_notes
from qkv_cli.render.quantity import QUANTITIES, Quantity
from qkv_cli.render.weights import largest, visible_cells

FEW = 4  # heads that are named one by one


@dataclass(frozen=True, slots=True)
class Panel:
    """One map."""

    name: str
    layer: int
    head: int | None
    weights: Array  # [n_query, n_key], nan where the query cannot look
    signs: str = ""  # what it is marked with


@dataclass(frozen=True)
class Maps:
    """Maps over the same tokens, at one scale.

    Attributes:
        notes: What a reader must know to read them.
        numbers: Write the weights into the cells.
        small: As thumbnails, layers down and heads across.
        quantity: The kind of number that is drawn.
    """

    queries: Sequence[Token]
    keys: Sequence[Token]
    panels: Sequence[Panel]
    notes: Sequence[str] = ()
    numbers: bool = False
    small: bool = False
    quantity: Quantity = QUANTITIES["weights"]

    @cached_property
    def top(self) -> float:
        """The largest amount of weight, which the last colour stands for."""
        return largest([panel.weights for panel in self.panels])

    @cached_property
    def signed(self) -> bool:
        below = any(bool((panel.weights < 0).any()) for panel in self.panels)
        return below or self.quantity is QUANTITIES["scores"]


@dataclass(frozen=True, slots=True)
class Bars:
    """Figures beside each other: a name, an amount, and a bar as long as it."""

    title: str
    rows: Sequence[tuple[str, float]]
    top: float  # what the longest bar stands for
    rest: tuple[str, float] | None = None  # what is left, and has no bar


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text whose words have weights.

    Attributes:
        weights: [n_token], nan where there is none.
        top: The weight that the last colour stands for.
        marked: The token that the weights are about.
    """

    title: str
    tokens: Sequence[Token]
    weights: Array
    top: float
    marked: int | None = None
    quantity: Quantity = QUANTITIES["weights"]

    @property
    def signed(self) -> bool:
        below = bool(np.nanmin(self.weights, initial=0) < 0)
        return below or self.quantity is QUANTITIES["scores"]


Part = Maps | Bars | Sentence


@dataclass(frozen=True, slots=True)
class Plate:
    """One picture.

    Attributes:
        title: What it is called where one line is all there is.
        name: What the caption begins with: the model.
        said: The rest of the caption, a thought each.
        parts: In the order in which they are read.
        behind: The maps that a browser shows in their place.
        pinned: The word that it begins with: query or key, and where it stands.
    """

    title: str
    name: str
    said: Sequence[str]
    parts: Sequence[Part]
    behind: Maps | None = None
    pinned: tuple[Literal["query", "key"], int] | None = None


@runtime_checkable
class HasPlate(Protocol):
    """A picture of the terminal that can also say what it holds."""

    def plate(self) -> Plate: ...


def attention_plate(maps: HeadMaps, *, numbers: bool = False) -> Plate:
    """The head maps of one text."""
    part = maps_part(maps, numbers=numbers)
    texts = label_line(maps.text)
    if (other := maps.source or maps.pair) is not None:
        texts = f"{texts} | {label_line(other)}"
    name = label_line(maps.model.name)
    statements = [_named(maps), *about(maps)]
    if (maps.weighting, maps.shown) == ("softmax", "weights"):
        statements.append("softmax weights")
    return Plate(f"{name} {statements[0]}: {texts}", name, statements, [part])


def _named(maps: HeadMaps) -> str:
    """The heads that are shown: a range where it has no gaps, the names of a few."""
    names = [label_line(m.name) for m in maps.maps]
    block = "" if maps.maps[0].block == "self" else f", {maps.maps[0].block} block"
    if len(names) > 2 and _without_gaps(maps):
        return f"{names[0]} to {names[-1]}{block}"
    if len(names) > FEW:
        return f"{len(names)} heads, starting with {names[0]}{block}"
    *first, last = names
    return (f"{', '.join(first)} and {last}" if first else last) + block


def _without_gaps(maps: HeadMaps) -> bool:
    """Whether every head from the first to the last is there, in order."""
    n_heads = maps.model.n_heads
    if any(m.head is None for m in maps.maps):
        return False
    places = [m.layer * n_heads + (m.head or 0) for m in maps.maps]
    return places == list(range(places[0], places[0] + len(places)))


def maps_part(maps: HeadMaps, *, numbers: bool = False, quantity: Quantity | None = None) -> Maps:
    """Head maps, and what the legend says of them.

    Args:
        quantity: The kind of number, if not what the maps show.
    """
    weights = visible_cells(maps)
    panels = [Panel(m.name, m.layer, m.head, w) for m, w in zip(maps.maps, weights, strict=True)]
    quantity = quantity or QUANTITIES[maps.shown]
    drawn = Maps(maps.queries, maps.keys, panels, numbers=numbers, quantity=quantity)
    notes = [
        *scale_notes(maps, drawn.top, quantity, signed=drawn.signed),
        *mask_notes(maps, weights),
        *word_notes(maps),
        *map(label_line, maps.notes),
    ]
    return replace(drawn, notes=notes)
