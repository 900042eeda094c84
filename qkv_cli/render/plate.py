"""The contents of a picture, independent of the medium: for paper and for a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from qkv_cli.core.arrays import Array
from qkv_cli.core.tokens import Token
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.render.legend import (
    QUANTITIES,
    Quantity,
    about,
    block_note,
    label_line,
    mask_notes,
    scale_notes,
    window_note,
    word_notes,
)
from qkv_cli.render.weights import largest, pooled_visible
from qkv_cli.visible import visible

FEW = 4  # heads that are listed one by one
LARGEST_SIDE = 512  # rows or columns of a map; of a longer text, a cell stands for a block
LONGEST_TITLE = 10_000  # characters
Medium = Literal["paper", "page"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One map."""

    name: str
    layer: int
    head: int | None
    weights: Array  # [n_rows, n_columns], NaN where masked
    signs: str = ""  # its mark


@dataclass(frozen=True)
class Maps:
    """Maps over the same tokens, at one scale.

    Attributes:
        blocks: The queries and keys that a cell covers.
        notes: For the reader of the maps.
        numbers: Write the weights into the cells.
        small: Draw thumbnails, with a row per layer and a column per head.
        quantity: The kind of number that is drawn.
    """

    queries: Sequence[Token]
    keys: Sequence[Token]
    panels: Sequence[Panel]
    blocks: tuple[int, int] = (1, 1)
    notes: Sequence[str] = ()
    numbers: bool = False
    small: bool = False
    quantity: Quantity = QUANTITIES["weights"]

    @property
    def row_tokens(self) -> Sequence[Token]:
        """The first query of each row."""
        return self.queries[:: self.blocks[0]]

    @property
    def column_tokens(self) -> Sequence[Token]:
        """The first key of each column."""
        return self.keys[:: self.blocks[1]]

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
        title: A title in one line; a longer one is cut.
        name: The start of the caption: the model.
        statements: The sentences of the caption.
        parts: The parts, in reading order.
        pinned: What a browser selects at first: a row (query) or column (key), and its index.
    """

    title: str
    name: str
    statements: Sequence[str]
    parts: Sequence[Part]
    pinned: tuple[Literal["query", "key"], int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", visible(self.title, LONGEST_TITLE))


@runtime_checkable
class HasPlate(Protocol):
    """A picture of the terminal that can describe its contents."""

    def plate(self, medium: Medium) -> Plate: ...


def attention_plate(maps: HeadMaps, parts: Sequence[Part]) -> Plate:
    """Return the plate of the head maps of one text."""
    texts = label_line(maps.text)
    if (other := maps.source or maps.pair) is not None:
        texts = f"{texts} | {label_line(other)}"
    name = label_line(maps.model.name)
    statements = [_heads_in_words(maps), *about(maps)]
    if (maps.weighting, maps.shown) == ("softmax", "weights"):
        statements.append("softmax weights")
    return Plate(
        title=f"{name} {statements[0]}: {texts}", name=name, statements=statements, parts=parts
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


def maps_part(
    maps: HeadMaps,
    *,
    numbers: bool = False,
    quantity: Quantity | None = None,
    side: int = LARGEST_SIDE,
) -> Maps:
    """Return head maps with the notes of their legend.

    Args:
        quantity: The quantity drawn, if it is not that of the maps.
        side: The maximum number of rows or columns; those of longer texts are pooled.
    """
    blocks = ceil(len(maps.queries) / side), ceil(len(maps.keys) / side)
    weights = pooled_visible(maps, blocks)
    panels = [
        Panel(name=m.name, layer=m.layer, head=m.head, weights=w)
        for m, w in zip(maps.maps, weights, strict=True)
    ]
    quantity = quantity or QUANTITIES[maps.shown]
    part = Maps(
        queries=maps.queries,
        keys=maps.keys,
        panels=panels,
        blocks=blocks,
        numbers=numbers,
        quantity=quantity,
    )
    notes = [
        *scale_notes(maps, part.top, quantity, signed=part.signed),
        *mask_notes(maps, pooled=blocks != (1, 1)),
        *_pooling_notes(maps, part, side),
        *word_notes(maps),
        *map(label_line, maps.notes),
    ]
    return replace(part, notes=notes)


def _pooling_notes(maps: HeadMaps, part: Maps, side: int) -> Iterator[str]:
    """Yield what a cell stands for if it covers a block, and how to draw every weight."""
    if part.blocks == (1, 1):
        return
    yield block_note(part.blocks, part.quantity, signed=part.signed)
    if maps.source is None:
        yield window_note(maps, side)
