"""What a reader must know to read the maps, each said once and only where it applies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.style import Style
from rich.text import Text

from qkv_cli.analysis.merge import special_share
from qkv_cli.core.arrays import Array
from qkv_cli.render.cells import label
from qkv_cli.render.flow import flowing
from qkv_cli.render.header import label_line
from qkv_cli.render.inks import Ramp
from qkv_cli.render.layout import Plan
from qkv_cli.render.quantity import Quantity
from qkv_cli.render.weights import number
from qkv_cli.render.words import word
from qkv_cli.views import HeadMaps

_DIM = Style(dim=True)
BAR = 24  # columns of the colour bar
LEAST_SPECIAL = 0.05  # of a row; less goes unmentioned


@dataclass(frozen=True, slots=True)
class Shown:
    """How the maps are drawn.

    Attributes:
        top: The weight that the last ink stands for: the largest that is shown.
        numbers_asked, numbers: Whether numbers were asked for, and whether they had room.
        what: The kind of number that is drawn.
    """

    top: float
    signed: bool
    numbers_asked: bool
    numbers: bool
    layout: Plan
    ramp: Ramp
    width: int
    what: Quantity


def legend(maps: HeadMaps, weights: Sequence[Array], shown: Shown) -> Iterator[Text]:
    notes: list[str] = []
    if shown.top:
        line = bar(shown.ramp, shown.top, shown.width, signed=shown.signed)
        reading = shown.what.reading
        if line.cell_len + 3 + len(reading) <= shown.width:
            line.append(f"   {reading}")
        else:
            notes = [reading]
        yield line
    notes += [
        *scale_notes(maps, shown.top, shown.what, signed=shown.signed),
        *mask_notes(maps, weights, pooled=shown.layout.blocks != (1, 1)),
        *_drawing(maps, shown),
        *special_notes(maps),
        *word_notes(maps),
    ]
    notes += [label_line(note) for note in maps.notes]
    yield from flowing(notes, shown.width, _DIM)


def bar(ramp: Ramp, top: float, width: int, *, signed: bool) -> Text:
    """The inks from least to most, with the numbers they stand for."""
    inks = ramp.inks
    columns = max(len(inks) if len(inks) <= BAR else BAR, 2 * len(inks) if len(inks) < 12 else 0)
    columns = min(columns, max(1, width - 12))
    line = Text(no_wrap=True, overflow="crop")
    line.append(f"{number(-top)} " if signed else "0 ")
    for step in np.rint(np.linspace(0, len(inks) - 1, columns)).astype(int).tolist():
        line.append(inks[step].glyph, inks[step].style)
    return line.append(f" {number(top)}")


def extent(what: Quantity, top: float, *, signed: bool) -> str:
    """What the ends of the bar stand for."""
    if signed:
        return f"±{number(top)}, the largest {what.one} in magnitude"
    return f"0 to {number(top)}, the largest {what.one} shown"


def scale_notes(maps: HeadMaps, top: float, what: Quantity, *, signed: bool) -> Iterator[str]:
    if not top:
        yield f"no {what.one} to show"
        return
    if what.note and (maps.shown != "scores" or maps.weighting == "softmax"):
        yield what.note
    several = len(maps.maps) > 1
    scale = "one scale for all maps" if several else "scale"
    yield f"{scale}: {extent(what, top, signed=signed)}"
    if signed:
        yield "0 is in the middle of the bar"


def mask_notes(maps: HeadMaps, weights: Sequence[Array], *, pooled: bool = False) -> Iterator[str]:
    masked = np.isnan(weights[0])
    own = maps.source is None and masked.shape[0] == masked.shape[1] and masked.diagonal().all()
    if own and not pooled:  # a pooled cell has its neighbours' weights
        yield "blank diagonal: in this model a word cannot attend to itself"
    if maps.causal and masked.size > 1:
        yield "blank upper right: a word cannot attend to later words"
    empty = np.flatnonzero(masked.all(axis=1)).tolist()
    if len(empty) == 1:
        alone = word(maps.queries[empty[0]], 12)
        yield f"the row of '{alone}' is empty: it has no key to attend to"
    elif empty:
        yield f"{len(empty)} rows are empty: they have no key to attend to"


def _drawing(maps: HeadMaps, shown: Shown) -> Iterator[str]:
    layout = shown.layout
    queries, keys = layout.blocks
    if layout.heads == "ruler":
        yield "words are numbered from 0"
    if layout.half:
        yield "each line shows two rows"
    if layout.blocks != (1, 1):
        furthest = "the largest in magnitude" if shown.signed else "the largest"
        yield f"each cell is {furthest} of {queries}x{keys} {shown.what.one}s (queries x keys)"
    if shown.numbers_asked and not shown.numbers:
        yield "this width is too narrow for the numbers"
    if layout.blocks != (1, 1) or (shown.numbers_asked and not shown.numbers):
        yield _detail(maps, shown)


def _detail(maps: HeadMaps, shown: Shown) -> str:
    """What to ask for to see every weight."""
    room = (shown.width - shown.layout.gutter) // (5 if shown.numbers_asked else 2)
    first, last = maps.queries[0].i, maps.queries[-1].i
    if maps.source is not None or room < 2:
        return "a wider terminal shows more detail"
    return f"--window {first}:{min(first + room, last + 1)} shows a part in detail"


def special_notes(maps: HeadMaps) -> Iterator[str]:
    """How much goes to [CLS] and the like, which can hide everything else."""
    share, what = special_share(maps)
    if share >= LEAST_SPECIAL:
        names = list(dict.fromkeys(label(token.name, 12) for token in maps.keys if token.special))
        told = " and ".join(names) if len(names) <= 2 else "special tokens"
        yield f"{number(share)} of the {what} goes to {told}; --hide-special leaves them out"


def word_notes(maps: HeadMaps) -> Iterator[str]:
    if any(token.segment for token in maps.queries):
        yield "lines mark the rows and columns of the second text"
    if any(token.unknown for token in (*maps.queries, *maps.keys)):
        yield "? marks a word unknown to the model"
