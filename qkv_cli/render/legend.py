"""The header and the legend of a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from qkv_cli.figures import count, number
from qkv_cli.maps.head_maps import HeadMaps
from qkv_cli.maps.matrix import row_blocks
from qkv_cli.maps.selection import special_share
from qkv_cli.names import Show
from qkv_cli.render.colours import Ramp
from qkv_cli.render.terminal.tiles import TileLayout
from qkv_cli.render.text import label, word

DOT = " · "


def flowing(
    statements: Iterable[str], width: int, style: Style, first: Text | None = None
) -> Iterator[Text]:
    """Yield statements, separated by dots, on as few lines as possible.

    Args:
        width: The width in cells; longer statements are folded.
        first: The start of the first line; later lines are indented by its width.
    """
    line = first or Text()
    indent = Text(" " * line.cell_len if line.cell_len <= width // 4 else "")
    fresh = True
    for statement in statements:
        needed = cell_len(statement) + (0 if fresh else len(DOT))
        if line.cell_len + needed > width and not (fresh and line.cell_len <= indent.cell_len):
            yield _whole(line)
            line, fresh = indent.copy(), True
        line.append(statement if fresh else DOT + statement, style)
        fresh = False
    yield _whole(line)


def _whole(line: Text) -> Text:
    line.rstrip()
    line.overflow = "fold"
    return line


_NAME, _DIM = Style(bold=True), Style(dim=True)
_LOUD = Style(bold=True, reverse=True)
_WEIGHTINGS = {
    "hard": "hard: all weight on the best key",
    "linear": "linear: Q Kᵀ / √d, no softmax",
}


def header(maps: HeadMaps, width: int) -> Iterator[Text]:
    """Yield the lines above the maps, with escaped texts."""
    model = maps.model
    first = Text.assemble((label_line(model.name), _NAME), "  ")
    untrained = "untrained" in model.origin
    if untrained:
        first = Text.assemble(first, (" UNTRAINED ", _LOUD), "  ")
    yield from flowing(about(maps), width, Style.null() if untrained else _DIM, first)
    if maps.pair is not None:
        yield text_line("first text", maps.text, width)
        yield text_line("second text", maps.pair, width)
    if maps.source is not None:
        yield text_line("queries", maps.text, width)
        yield text_line("keys and values", maps.source, width)


def about(maps: HeadMaps) -> list[str]:
    """Describe the model, its heads, and the options of the reading."""
    model = maps.model
    statements = [
        label_line(model.type).replace("-", " "),
        f"{count(model.n_layers, 'layer')} x {count(model.n_heads, 'head')}",
        f"heads {label_line(model.origin)}",
    ]
    if maps.weighting != "softmax":
        statements.append(_WEIGHTINGS[maps.weighting])
    if maps.causal:
        statements.append("causal")
    if maps.ablated:
        statements.append(f"ablated: {label_line(maps.ablated)}")
    if header := QUANTITIES[maps.shown].header:
        statements.append(
            header if maps.weighting == "softmax" else header.replace("softmax", "weighting")
        )
    return statements


def label_line(text: str) -> str:
    """Return a text on one line, escaped."""
    return " ".join(label(part) for part in text.split())


def text_line(name: str, text: str, width: int) -> Text:
    """Return a line with a name and a text, cut at the end of the line."""
    line = Text(f"{name}: ", _DIM, no_wrap=True).append(label_line(text), Style(dim=False))
    line.truncate(width, overflow="ellipsis")
    return line


_DIM = Style(dim=True)
BAR = 24  # columns of the colour bar
LEAST_SPECIAL = 0.05  # of a row; a smaller share is not mentioned


@dataclass(frozen=True, slots=True)
class Appearance:
    """How the maps are drawn.

    Attributes:
        top: The weight of the last ink: the largest one shown.
        numbers_asked, numbers: Whether numbers were requested, and whether they fit.
        quantity: The kind of number that is drawn.
        compares: Whether the maps are of several models or texts, which have their own notes.
    """

    top: float
    signed: bool
    numbers_asked: bool
    numbers: bool
    layout: TileLayout
    ramp: Ramp
    width: int
    quantity: Quantity
    compares: bool = False


def legend(maps: HeadMaps, appearance: Appearance) -> Iterator[Text]:
    notes: list[str] = []
    if appearance.top:
        line = scale_bar(
            appearance.ramp, appearance.top, appearance.width, signed=appearance.signed
        )
        reading = appearance.quantity.axes
        if line.cell_len + 3 + len(reading) <= appearance.width:
            line.append(f"   {reading}")
        else:
            notes = [reading]
        yield line
    notes += [
        *scale_notes(maps, appearance.top, appearance.quantity, signed=appearance.signed),
        *mask_notes(maps, pooled=appearance.layout.blocks != (1, 1)),
        *_drawing(maps, appearance),
        *([] if appearance.compares else special_notes(maps)),
        *word_notes(maps),
    ]
    notes += [label_line(note) for note in maps.notes]
    yield from flowing(notes, appearance.width, _DIM)


def scale_bar(ramp: Ramp, top: float, width: int, *, signed: bool) -> Text:
    """Return the bar of inks from the smallest to the largest weight, with numbers."""
    inks = ramp.inks
    columns = max(len(inks) if len(inks) <= BAR else BAR, 2 * len(inks) if len(inks) < 12 else 0)
    columns = min(columns, max(1, width - 12))
    line = Text(no_wrap=True, overflow="crop")
    line.append(f"{number(-top)} " if signed else "0 ")
    for step in np.rint(np.linspace(0, len(inks) - 1, columns)).astype(int).tolist():
        line.append(inks[step].glyph, inks[step].style)
    return line.append(f" {number(top)}")


def scale_range(quantity: Quantity, top: float, *, signed: bool) -> str:
    """Describe the range of the bar."""
    if signed:
        return f"±{number(top)}, the largest {quantity.noun} in magnitude"
    return f"0 to {number(top)}, the largest {quantity.noun} shown"


def scale_notes(maps: HeadMaps, top: float, quantity: Quantity, *, signed: bool) -> Iterator[str]:
    if not top:
        yield f"no {quantity.noun} to show"
        return
    if quantity.note and (maps.shown != "scores" or maps.weighting == "softmax"):
        yield quantity.note
    several = len(maps.maps) > 1
    scale = "one scale for all maps" if several else "scale"
    yield f"{scale}: {scale_range(quantity, top, signed=signed)}"
    if signed:
        yield "0 is in the middle of the bar"


def mask_notes(maps: HeadMaps, *, pooled: bool = False) -> Iterator[str]:
    mask = maps.maps[0].mask
    n_query, n_key = mask.shape
    empty, has_diagonal = list[int](), maps.source is not None or n_query != n_key
    for rows in row_blocks(mask):
        visible = mask[rows]
        empty += (np.flatnonzero(~visible.any(axis=1)) + rows.start).tolist()
        has_diagonal = has_diagonal or bool(visible.diagonal(rows.start).any())
    if not has_diagonal and not pooled:  # a pooled cell includes the weights of its neighbours
        yield "blank diagonal: in this model a word cannot attend to itself"
    if maps.causal and n_query * n_key > 1:
        yield "blank upper right: a word cannot attend to later words"
    if len(empty) == 1:
        first_word = word(maps.queries[empty[0]], 12)
        yield f"the row of '{first_word}' is empty: it has no key to attend to"
    elif empty:
        yield f"{len(empty)} rows are empty: they have no key to attend to"


def _drawing(maps: HeadMaps, appearance: Appearance) -> Iterator[str]:
    layout = appearance.layout
    if layout.label_style == "ruler":
        yield "words are numbered from 0"
    if layout.half:
        yield "each line shows two rows"
    if layout.blocks != (1, 1):
        yield block_note(layout.blocks, appearance.quantity, signed=appearance.signed)
    if appearance.numbers_asked and not appearance.numbers:
        yield "this width is too narrow for the numbers"
    if layout.blocks != (1, 1) or (appearance.numbers_asked and not appearance.numbers):
        yield _detail(maps, appearance)


def _detail(maps: HeadMaps, appearance: Appearance) -> str:
    """Suggest options that show every weight."""
    room = (appearance.width - appearance.layout.gutter) // (5 if appearance.numbers_asked else 2)
    if maps.source is not None or room < 2:
        return "a wider terminal shows more detail"
    return window_note(maps, room)


def block_note(blocks: tuple[int, int], quantity: Quantity, *, signed: bool) -> str:
    """Say what a cell stands for if it covers blocks of queries x keys."""
    furthest = "the largest in magnitude" if signed else "the largest"
    queries, keys = blocks
    return f"each cell is {furthest} of {queries}x{keys} {quantity.noun}s (queries x keys)"


def window_note(maps: HeadMaps, n: int) -> str:
    """Suggest a window of n tokens, which is drawn without blocks."""
    first, last = maps.queries[0].i, maps.queries[-1].i
    return f"--window {first}:{min(first + n, last + 1)} shows a part in detail"


def special_notes(maps: HeadMaps) -> Iterator[str]:
    """Note the share of special tokens, which can hide everything else."""
    share, noun = special_share(maps)
    if share >= LEAST_SPECIAL:
        names = list(dict.fromkeys(label(token.name, 12) for token in maps.keys if token.special))
        receivers = " and ".join(names) if len(names) <= 2 else "special tokens"
        yield f"{number(share)} of the {noun} goes to {receivers}; --hide-special leaves them out"


def word_notes(maps: HeadMaps) -> Iterator[str]:
    if any(token.segment for token in maps.queries):
        yield "lines mark the rows and columns of the second text"
    if any(token.unknown for token in (*maps.queries, *maps.keys)):
        yield "? marks a word unknown to the model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """The words for one quantity.

    Attributes:
        noun: The noun for one number.
        larger: The phrase for the larger of two numbers.
        axes: How rows relate to columns.
        header: The line above the maps; empty for weights.
        note: A note on these numbers.
        link: The arrow between a query and a key.
        verb, passive: The verb of a query to a key, and of a key to a query.
        query, key: The axis titles of a map.
    """

    noun: str
    larger: str
    axes: str
    header: str = ""
    note: str = ""
    link: str = "→"
    verb: str = "attends to"
    passive: str = "is attended to by"
    query: str = "query (attends)"
    key: str = "key (attended to)"


QUANTITIES: Mapping[Show, Quantity] = {
    "weights": Quantity(
        noun="weight",
        larger="more weight",
        axes="rows (queries) attend to columns (keys)",
    ),
    "scores": Quantity(
        noun="score",
        larger="the higher score",
        axes="rows are queries, columns are keys",
        header="scores: before softmax, scaled, with any position bias",
        note="softmax depends only on the differences within a row",
        link="·",
        verb="scores",
        passive="is scored by",
        query="query",
        key="key",
    ),
    "contributions": Quantity(
        noun="length",
        larger="the greater length",
        axes="rows (queries) receive from columns (keys)",
        header="contributions: ‖weight x value x W_O‖",
        note="each length is that of the vector which the key adds to the query's output",
        link="←",
        verb="receives from",
        passive="contributes to",
        query="query (receives)",
        key="key (contributes)",
    ),
    "rollout": Quantity(
        noun="share",
        larger="the larger share",
        axes="rows (positions in this layer) draw on columns (input tokens)",
        header="rollout: weights traced through all layers to the input",
        note="each share is the part of a position that comes from an input token",
        link="←",
        verb="draws on",
        passive="goes into",
        query="position in this layer",
        key="input token",
    ),
}
