"""The contents of a picture, independent of the medium: for paper and for a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.render.legend import (
    QUANTITIES,
    Quantity,
    about,
    label_line,
    mask_notes,
    scale_notes,
    word_notes,
)
from qkv_cli.render.weights import largest, visible_cells

FEW = 4  # heads that are listed one by one


@dataclass(frozen=True, slots=True)
class Panel:
    """One map."""

    name: str
    layer: int
    head: int | None
    weights: Array  # [n_query, n_key], NaN where masked
    signs: str = ""  # its mark


@dataclass(frozen=True)
class Maps:
    """Maps over the same tokens, at one scale.

    Attributes:
        notes: For the reader of the maps.
        numbers: Write the weights into the cells.
        small: Draw thumbnails, with a row per layer and a column per head.
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
        """The largest magnitude, which has the last colour."""
        return largest([panel.weights for panel in self.panels])

    @cached_property
    def signed(self) -> bool:
        below = any(bool((panel.weights < 0).any()) for panel in self.panels)
        return below or self.quantity is QUANTITIES["scores"]


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart: names, numbers and bars."""

    title: str
    rows: Sequence[tuple[str, float]]
    top: float  # the number of a bar of full length
    rest: tuple[str, float] | None = None  # the sum of the others, without a bar


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text whose words have weights.

    Attributes:
        weights: [n_tokens], NaN where there is none.
        top: The weight of the last colour.
        marked: The token that the weights belong to.
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
        title: A title in one line.
        name: The start of the caption: the model.
        statements: The sentences of the caption.
        parts: The parts, in reading order.
        page_maps: The maps that a browser shows instead.
        pinned: The word that is selected at first: whether it is a query or key, and its index.
    """

    title: str
    name: str
    statements: Sequence[str]
    parts: Sequence[Part]
    page_maps: Maps | None = None
    pinned: tuple[Literal["query", "key"], int] | None = None


@runtime_checkable
class HasPlate(Protocol):
    """A picture of the terminal that can describe its contents."""

    def plate(self) -> Plate: ...


def attention_plate(maps: HeadMaps, *, numbers: bool = False) -> Plate:
    """Return the plate of the head maps of one text."""
    part = maps_part(maps, numbers=numbers)
    texts = label_line(maps.text)
    if (other := maps.source or maps.pair) is not None:
        texts = f"{texts} | {label_line(other)}"
    name = label_line(maps.model.name)
    statements = [_heads_in_words(maps), *about(maps)]
    if (maps.weighting, maps.shown) == ("softmax", "weights"):
        statements.append("softmax weights")
    return Plate(
        title=f"{name} {statements[0]}: {texts}", name=name, statements=statements, parts=[part]
    )


def _heads_in_words(maps: HeadMaps) -> str:
    """Name the heads shown: as a range without gaps, or one by one."""
    names = [label_line(m.name) for m in maps.maps]
    block = "" if maps.maps[0].block == "self" else f", {maps.maps[0].block} block"
    if len(names) > 2 and _without_gaps(maps):
        return f"{names[0]} to {names[-1]}{block}"
    if len(names) > FEW:
        return f"{len(names)} heads, starting with {names[0]}{block}"
    *first, last = names
    return (f"{', '.join(first)} and {last}" if first else last) + block


def _without_gaps(maps: HeadMaps) -> bool:
    """Whether the heads are a range without gaps, in order."""
    n_heads = maps.model.n_heads
    if any(m.head is None for m in maps.maps):
        return False
    places = [m.layer * n_heads + (m.head or 0) for m in maps.maps]
    return places == list(range(places[0], places[0] + len(places)))


def maps_part(maps: HeadMaps, *, numbers: bool = False, quantity: Quantity | None = None) -> Maps:
    """Return head maps with the notes of their legend.

    Args:
        quantity: The quantity drawn, if it is not that of the maps.
    """
    weights = visible_cells(maps)
    panels = [
        Panel(name=m.name, layer=m.layer, head=m.head, weights=w)
        for m, w in zip(maps.maps, weights, strict=True)
    ]
    quantity = quantity or QUANTITIES[maps.shown]
    part = Maps(maps.queries, maps.keys, panels, numbers=numbers, quantity=quantity)
    notes = [
        *scale_notes(maps, part.top, quantity, signed=part.signed),
        *mask_notes(maps),
        *word_notes(maps),
        *map(label_line, maps.notes),
    ]
    return replace(part, notes=notes)
