"""The picture of `qkv focus`: the sentence, shaded, and bars for each head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from qkv_cli.analysis.focus import Focus, Strongest, strongest_weights
from qkv_cli.core.arrays import Array
from qkv_cli.figures import number
from qkv_cli.render.legend import QUANTITIES, flowing, header, label_line, text_line
from qkv_cli.render.legend import scale_bar as scale
from qkv_cli.render.plate import Bars, Medium, Part, Plate, Sentence, attention_plate, maps_part
from qkv_cli.render.terminal.columns import bar
from qkv_cli.render.terminal.sentence import shaded
from qkv_cli.render.text import aligned, distinct_words
from qkv_cli.render.theme import Theme

_NAME, _DIM = Style(bold=True), Style(dim=True)
LONGEST_WORD = 14
BAR, LEAST_BAR = 32, 10  # columns
GAP = 3
PAPER_WORDS = 1_000  # of the sentence on paper; more would be illegible


@dataclass(frozen=True, slots=True)
class FocusPicture:
    """A Rich renderable that fits the width it is given.

    Attributes:
        top: The number of strongest weights with a bar, per head.
    """

    f: Focus
    theme: Theme
    top: int = 5

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        f, width = self.f, options.max_width
        yield from header(replace(f.maps, source=None, pair=None), width)
        yield Text()
        if f.maps.source is not None:
            tokens_of = ("queries", f.maps.text), ("keys", f.maps.source)
            yield text_line(*tokens_of[f.side == "key"], width)
        yield self._title(width)
        marked = f.at if f.maps.source is None else None
        signed = f.maps.shown == "scores" or bool(np.nanmin(f.mean, initial=0) < 0)
        top = _largest(f.mean)
        yield from shaded(f.others, f.mean, top, self.theme, width, signed=signed, marked=marked)
        yield Text()
        yield from self._bars(width)
        yield Text()
        if top:
            yield scale(self.theme.pixels(signed=signed), top, width, signed=signed)
        if notes := list(self._notes(top)):
            yield from flowing(notes, width, _DIM)

    def plate(self, medium: Medium) -> Plate:
        """Return the contents for paper; a browser shows the maps with the word selected."""
        f, notes = self.f, list(self._notes(_largest(self.f.mean)))
        if medium == "page":
            part = maps_part(f.maps)
            pinned = f.side, f.at // part.blocks[f.side == "key"]
            plate = replace(attention_plate(f.maps, [part]), pinned=pinned)
        else:
            words = self._words_on_paper()
            plate = attention_plate(f.maps, self._parts(words))
            if len(words) < len(f.others):
                first, last = f.others[words[0]].i, f.others[words[-1]].i
                notes.append(
                    f"the text shows words {first} to {last}; the bars are of all {len(f.others):,}"
                )
        return replace(plate, statements=[*plate.statements, *notes])

    def _words_on_paper(self) -> range:
        """Return the words around the selected one, or around the strongest of another text."""
        f = self.f
        center = f.at if f.maps.source is None else int(np.argmax(np.nan_to_num(np.abs(f.mean))))
        first = max(0, min(center - PAPER_WORDS // 2, len(f.others) - PAPER_WORDS))
        return range(first, min(first + PAPER_WORDS, len(f.others)))

    def _parts(self, words: range) -> list[Part]:
        """Return the sentence, of some of its words, and the bars of each head."""
        f = self.f
        names = distinct_words(f.others, LONGEST_WORD)
        top, largest = _largest(f.mean), _largest(f.weights)
        marked = words.index(f.at) if f.maps.source is None else None
        quantity, title = QUANTITIES[f.maps.shown], self._title(10_000).plain
        parts: list[Part] = [
            Sentence(
                title=title,
                tokens=f.others[words.start : words.stop],
                weights=f.mean[words.start : words.stop],
                top=top,
                marked=marked,
                quantity=quantity,
            )
        ]
        for m, weights in zip(f.maps.maps, f.weights, strict=True):
            strongest = strongest_weights(weights, self.top)
            rows = [(names[at], float(weights[at])) for at in strongest.places]
            rest = (
                (_rest(strongest), strongest.rest)
                if strongest.n_rest and rows and self._sums
                else None
            )
            parts.append(Bars(title=label_line(m.name), rows=rows, top=largest, rest=rest))
        return parts

    @property
    def _sums(self) -> bool:
        """Whether a sum of these numbers has a meaning."""
        return self.f.maps.shown != "scores"

    def _title(self, width: int) -> Text:
        f = self.f
        name = distinct_words(f.maps.queries if f.side == "query" else f.maps.keys, LONGEST_WORD)[
            f.at
        ]
        quantity = QUANTITIES[f.maps.shown]
        does = quantity.verb if f.side == "query" else quantity.passive
        title = Text(no_wrap=True).append(name, _NAME).append(f" {does}")
        title.truncate(width, overflow="ellipsis")
        return title

    def _bars(self, width: int) -> Iterator[Text]:
        """Yield blocks of bars, one per head, as many next to each other as fit."""
        f = self.f
        names = distinct_words(f.others, LONGEST_WORD)
        strongest = [strongest_weights(w, self.top) for w in f.weights]
        layout = _layout(strongest, f.weights, names, width)
        blocks = [
            [Text(label_line(m.name), _NAME), *self._block(w, s, names, layout)]
            for m, w, s in zip(f.maps.maps, f.weights, strongest, strict=True)
        ]
        for first in range(0, len(blocks), layout.across):
            if first:
                yield Text()
            band = blocks[first : first + layout.across]
            for at in range(max(map(len, band))):
                yield _joined([b[at] if at < len(b) else Text() for b in band], layout)

    def _block(
        self, weights: Array, s: Strongest, names: Sequence[str], layout: _Layout
    ) -> Iterator[Text]:
        for at in s.places:
            weight = float(weights[at])
            line = Text(aligned(names[at], layout.word) + " ")
            line.append(number(weight).rjust(layout.digits) + " ", _DIM)
            amount, top = (Decimal(str(round(x, 6))) for x in (weight, layout.top))
            yield line.append_text(bar(amount, top, layout.bar, self.theme))
        if s.n_rest and s.places and self._sums:
            rest = aligned(_rest(s), layout.word) + " " + number(s.rest).rjust(layout.digits)
            yield Text(rest, _DIM)
        if not s.places:
            yield Text("nothing", _DIM)

    def _notes(self, top: float) -> Iterator[str]:
        f = self.f
        several, quantity = len(f.maps.maps) > 1, QUANTITIES[f.maps.shown]
        if quantity.note:
            yield quantity.note
        if not top:
            yield f"no {quantity.noun} to show"
        elif several:
            yield f"words are shaded by the mean of {len(f.maps.maps)} heads, up to {number(top)}"
            yield "all bars have one scale"
        if f.side == "key" and f.maps.shown in ("weights", "rollout"):
            yield "each bar comes from the row of a different query, so they need not sum to 1"
        if any(token.unknown for token in (*f.maps.queries, *f.maps.keys)):
            yield "? marks a word unknown to the model"
        yield from (label_line(note) for note in f.maps.notes)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The widths of word, number and bar; `top` is the number of the longest bar."""

    word: int
    digits: int
    bar: int
    across: int
    top: float

    @property
    def tile(self) -> int:
        return self.word + self.digits + self.bar + 2


def _layout(
    strongest: Sequence[Strongest], weights: Array, names: Sequence[str], width: int
) -> _Layout:
    words = [names[at] for s in strongest for at in s.places] + [_rest(s) for s in strongest]
    weights_shown = [
        float(w[at]) for s, w in zip(strongest, weights, strict=True) for at in s.places
    ]
    word = min(max(map(cell_len, words)), max(1, width - 6))
    digits = max(len(number(x)) for x in [*weights_shown, *(s.rest for s in strongest)])
    fitting = max(1, (width + GAP) // (word + digits + LEAST_BAR + 2 + GAP))
    across = -(-len(strongest) // -(-len(strongest) // fitting))
    room = (width + GAP) // across - GAP - word - digits - 2
    return _Layout(
        word=word, digits=digits, bar=max(0, min(BAR, room)), across=across, top=_largest(weights)
    )


def _joined(parts: Sequence[Text], layout: _Layout) -> Text:
    line = Text(no_wrap=True, overflow="crop")
    for nth, part in enumerate(parts):
        line.append_text(part)
        if nth < len(parts) - 1:
            line.append(" " * (layout.tile - part.cell_len + GAP))
    return line


def _rest(s: Strongest) -> str:
    return f"{s.n_rest} more" if s.places else ""


def _largest(weights: Array) -> float:
    amounts = np.abs(weights[~np.isnan(weights)])
    return float(amounts.max()) if len(amounts) else 0.0
